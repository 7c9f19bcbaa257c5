# gpt-oss: sliding and full attention by turns, each head with a learnt sink; biases everywhere; experts with biases,
# gated by a limited sigmoid, weighed by a softmax over those picked.

# attention on projected q, k, v, of E numbers, and EV for v; with sinks where `sinks` says so. Projects back.
block attend_sinks(q, k, v, window, sinks) -> a {
  weight wo: w [D, G, H // G, EV] as "self_attn.o_proj"
  if sinks > 0 {
    weight sink: w [G, H // G]
  }
  each q, k, v -> o {
    state kc: kv [B, T, G, E]
    state vc: kv [B, T, G, EV]
    qr = rotate(q)
    kr = rotate(k)
    kc = append(kc, kr) {past = past}
    vc = append(vc, v) {past = past}
    if sinks > 0 {
      o = attention_sinks(qr, kc, vc, sink) {past = past, window = window}
    } else {
      o = attention(qr, kc, vc) {past = past, window = window}
    }
  }
  a = merge(o, wo)
}

# experts of inner width F with biases, gated with limits
block oss_experts(h, id, p) -> y {
  weight e1: w [X, F, D] as "mlp.experts.gate_proj"
  weight e3: w [X, F, D] as "mlp.experts.up_proj"
  weight e2: w [X, D, F] as "mlp.experts.down_proj"
  weight c1: w [X, F]
  weight c3: w [X, F]
  weight c2: w [X, D]
  u = expert_linear(h, e1, id)
  u = expert_bias(u, c1, id)
  g = expert_linear(h, e3, id)
  g = expert_bias(g, c3, id)
  m = swiglu_limited(u, g) {limit = limit}
  y = expert_each(m, e2, id)
  y = expert_bias(y, c2, id)
  y = expert_sum(y, p)
}

model gpt_oss for "GptOssForCausalLM" {
  read decoder
  read rotary
  read rms
  read swiglu
  read experts
  param EV = E
  param biases = attention_bias else 1
  require biases == 1, "this family has biases on its projections"
  param limit = swiglu_limit else 7
  require limit > 0, "swiglu_limit is positive"
  ignore experts_per_token, initial_context_length
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  repeat L as l {
    require layer_types[l] == "sliding_attention" or layer_types[l] == "full_attention", "a layer slides or is full"
    param window = inf
    if layer_types[l] == "sliding_attention" {
      param window = sliding_window
      require window >= 1, "sliding_window is at least 1"
    }
    weight g1: w [D]
    h = rmsnorm(x, g1) {eps = eps}
    q, k, v = qkv(h)
    weight bq: w [G, H // G, E]
    weight bk: w [G, E]
    weight bv: w [G, E]
    weight bo: w [D]
    q = bias_add(q, bq)
    k = bias_add(k, bk)
    v = bias_add(v, bv)
    a = attend_sinks(q, k, v) {window = window, sinks = 1}
    a = bias_add(a, bo)
    x = add(x, a)
    weight g2: w [D]
    weight wr: w [X, D] as "mlp.router"
    weight br: w [X]
    h = rmsnorm(x, g2) {eps = eps}
    r = linear(h, wr)
    r = bias_add(r, br)
    p, id = router(r) {top = J}
    y = oss_experts(h, id, p)
    x = add(x, y)
  }
  logits = unembed(x, table)
  output logits
}
