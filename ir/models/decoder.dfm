# Pieces that decoder families share. A block sees the parameters of the model that uses it: D width, G KV
# heads, H query heads, E head size, V vocabulary, eps, theta, window, tie. Tensors are handed in.

# attention on projected q, k, v of one layer: rotate, append to the cache, attend, project back to the width
block attend(q, k, v) -> a {
  weight wo: w [D, G, H // G, E]
  each q, k, v -> o {
    state kc: kv [B, T, G, E]
    state vc: kv [B, T, G, E]
    qr = rope(q) {past = past, theta = theta}
    kr = rope(k) {past = past, theta = theta}
    kc = append(kc, kr) {past = past}
    vc = append(vc, v) {past = past}
    o = attention(qr, kc, vc) {past = past, window = window}
  }
  a = merge(o, wo)
}

# SwiGLU feed-forward layer on normalised h, added to the residual x; F is its inner width
block dense_mlp(h, x, F) -> x {
  weight w1: w [F, D]
  weight w3: w [F, D]
  weight w2: w [D, F]
  u = linear(h, w1)
  g = linear(h, w3)
  m = silu_mul(u, g)
  y = linear(m, w2)
  x = add(x, y)
}

# the same with its norm in front
block feed_forward(x) -> x {
  weight g2: w [D]
  h = rmsnorm(x, g2) {eps = eps}
  x = dense_mlp(h, x) {F = F}
}

# last norm and scores of all tokens, by the embedding's own table where the two are tied
block unembed(x, table) -> logits {
  weight gf: w [D]
  h = rmsnorm(x, gf) {eps = eps}
  if tie > 0 {
    logits = linear(h, table)
  }
  if tie < 1 {
    weight head: w [V, D]
    logits = linear(h, head)
  }
}
