# Mixtral: attention as in Llama; every feed-forward layer picks experts and weighs them by a softmax over those picked.

# weights under the names that Mixtral gave them, which others took over
block mixtral_experts(h, id, p) -> y {
  weight e1: w [X, FM, D] as "block_sparse_moe.experts.w1"
  weight e3: w [X, FM, D] as "block_sparse_moe.experts.w3"
  weight e2: w [X, D, FM] as "block_sparse_moe.experts.w2"
  y = expert_swiglu(h, e1, e3, e2, id, p)
}

model mixtral for "MixtralForCausalLM" {
  read decoder
  read rotary
  read rms
  read swiglu
  read experts
  param FM = F
  param window = sliding_window else inf
  require window >= 1, "sliding_window is at least 1"
  ignore router_jitter_noise
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  repeat L {
    weight g1: w [D]
    h = rmsnorm(x, g1) {eps = eps}
    q, k, v = qkv(h)
    a = attend(q, k, v) {window = window}
    x = add(x, a)
    weight g2: w [D]
    weight wr: w [X, D] as "block_sparse_moe.gate"
    h = rmsnorm(x, g2) {eps = eps}
    r = linear(h, wr)
    p, id = router(r) {top = J}
    y = mixtral_experts(h, id, p)
    x = add(x, y)
  }
  logits = unembed(x, table)
  output logits
}
