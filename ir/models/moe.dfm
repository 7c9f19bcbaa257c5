# Pieces of mixtures of experts. Of the model that uses them they see X experts, J of them per token, FM their inner
# width; blocks that declare weights name them as the checkpoints of their families do.

# how many experts there are, and how many a token meets
config experts {
  param X = num_local_experts else num_experts else n_routed_experts
  param J = num_experts_per_tok else top_k_experts
  require J >= 1, "num_experts_per_tok is at least 1"
  require X >= J, "num_experts_per_tok is at most the number of experts"
}

# ---- routers: scores r of all experts -> weights p and ids of those picked

# softmax over all, then pick; the picked weights are brought to sum 1 where `normal` says so
block route_softmax(r, normal) -> p, id {
  s = softmax(r)
  p, id = pick(s) {top = J}
  if normal > 0 {
    p = normalise(p)
  }
}

# sigmoids, picked with a learnt correction that does not weigh; the weights sum to `factor`
block route_sigmoid(r, factor) -> p, id {
  weight correction: w [X]
  s = sigmoid(r)
  p, id = pick_biased(s, correction) {top = J}
  p = normalise(p) {scale = factor}
}

# ---- experts: tokens h and weights w1 (gate), w3 (up), w2 (down) -> outputs, already summed

# gated by SiLU
block expert_swiglu(h, w1, w3, w2, id, p) -> y {
  u = expert_linear(h, w1, id)
  g = expert_linear(h, w3, id)
  m = silu_mul(u, g)
  y = expert_merge(m, w2, id, p)
}

# the same, with the weights under their usual names
block experts(h, id, p) -> y {
  weight e1: w [X, FM, D] as "mlp.experts.gate_proj"
  weight e3: w [X, FM, D] as "mlp.experts.up_proj"
  weight e2: w [X, D, FM] as "mlp.experts.down_proj"
  y = expert_swiglu(h, e1, e3, e2, id, p)
}

# ---- one expert for all tokens

# gated by SiLU, the weights given
block swiglu_of(h, w1, w3, w2) -> y {
  u = linear(h, w1)
  g = linear(h, w3)
  m = silu_mul(u, g)
  y = linear(m, w2)
}
