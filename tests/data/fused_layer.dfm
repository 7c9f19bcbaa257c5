# One transformer layer of Llama-3-8B's sizes without norms, residuals and rotations: what other mappers fuse as a
# whole, so that its compulsory traffic can be compared bit by bit. N tokens, T of them and before in the cache.
model fused_layer {
  param D = 4096
  param H = 32
  param G = 8
  param E = 128
  param F = 14336
  input x: act [N, D]
  repeat 1 {
    weight wq: w [G, H // G, E, D]
    weight wk: w [G, E, D]
    weight wv: w [G, E, D]
    weight wo: w [D, G, H // G, E]
    weight w1: w [F, D]
    weight w3: w [F, D]
    weight w2: w [D, F]
    q = linear(x, wq)
    k = linear(x, wk)
    v = linear(x, wv)
    each q, k, v -> o {
      state kc: kv [B, T, G, E]
      state vc: kv [B, T, G, E]
      kc = append(kc, k) {past = past}
      vc = append(vc, v) {past = past}
      o = attention(q, kc, vc) {past = past}
    }
    a = merge(o, wo)
    u = linear(a, w1)
    g = linear(a, w3)
    m = mul(u, g)
    x = linear(m, w2)
  }
  output x
}
