# DeepSeek-V3: latent attention in absorbed form; the first K layers are dense, the rest mixtures of experts
# with shared experts beside them. The feed-forward layer is `dense_mlp` of decoder.dfm.

# latent attention of one layer with its norm and residual; the cache holds C + ER numbers per token
block mla_attention(x) -> x {
  weight g1: w [D]
  weight wdq: w [QR, D]
  weight gq: w [QR]
  weight wuq: w [H, EN, QR]
  weight wqr: w [H, ER, QR]
  weight wdkv: w [C, D]
  weight gkv: w [C]
  weight wkr: w [ER, D]
  weight wuk: w [H, EN, C]
  weight wuv: w [H, C, EV]
  weight wo: w [D, H, EV]
  h = rmsnorm(x, g1) {eps = eps}
  cq = linear(h, wdq)
  cq = rmsnorm(cq, gq) {eps = eps}
  qn = linear(cq, wuq)
  qr = linear(cq, wqr)
  qc = absorb(qn, wuk)
  c = linear(h, wdkv)
  c = rmsnorm(c, gkv) {eps = eps}
  kr = linear(h, wkr)
  each qc, qr, c, kr -> o {
    state cc: kv [B, T, C]
    state rc: kv [B, T, ER]
    q2 = rope(qr) {past = past, theta = theta}
    k2 = rope(kr) {past = past, theta = theta}
    cc = append(cc, c) {past = past}
    rc = append(rc, k2) {past = past}
    o = mla(qc, q2, cc, rc) {past = past, scale = rsqrt(EN + ER)}
  }
  ov = absorb(o, wuv)
  a = merge(ov, wo)
  x = add(x, a)
}

# N tokens in the step. The router here is a plain softmax over the picked experts, without expert groups.
model deepseek_v3 for "DeepseekV3ForCausalLM" {
  param L = num_hidden_layers
  require L >= 1, "num_hidden_layers is at least 1"
  param K = first_k_dense_replace
  require K >= 0, "first_k_dense_replace is not negative"
  require L >= K, "first_k_dense_replace is at most num_hidden_layers"
  param D = hidden_size
  require D >= 1, "hidden_size is at least 1"
  param H = num_attention_heads
  require H >= 1, "num_attention_heads is at least 1"
  param QR = q_lora_rank
  require QR >= 1, "q_lora_rank is at least 1"
  param C = kv_lora_rank
  require C >= 1, "kv_lora_rank is at least 1"
  param EN = qk_nope_head_dim
  require EN >= 1, "qk_nope_head_dim is at least 1"
  param ER = qk_rope_head_dim
  require ER >= 2, "qk_rope_head_dim is at least 2"
  require ER % 2 == 0, "qk_rope_head_dim is even, as rotary embeddings turn pairs"
  param EV = v_head_dim
  require EV >= 1, "v_head_dim is at least 1"
  param F = intermediate_size
  require F >= 1, "intermediate_size is at least 1"
  param FM = moe_intermediate_size
  require FM >= 1, "moe_intermediate_size is at least 1"
  param X = n_routed_experts
  param J = num_experts_per_tok
  require J >= 1, "num_experts_per_tok is at least 1"
  require X >= J, "num_experts_per_tok is at most n_routed_experts"
  param FS = FM * n_shared_experts
  require FS >= 1, "n_shared_experts is at least 1"
  param V = vocab_size
  require V >= 1, "vocab_size is at least 1"
  param eps = rms_norm_eps else 1e-6
  require eps > 0, "rms_norm_eps is positive"
  param theta = rope_theta else 10000
  require theta > 0, "rope_theta is positive"
  input ids: int [N] in V
  weight table: w [V, D]
  x = gather(table, ids)
  repeat K {
    x = mla_attention(x)
    weight g2: w [D]
    h = rmsnorm(x, g2) {eps = eps}
    x = dense_mlp(h, x) {F = F}
  }
  repeat L - K {
    x = mla_attention(x)
    weight g2: w [D]
    weight wr: w [X, D]
    weight e1: w [X, FM, D]
    weight e3: w [X, FM, D]
    weight e2: w [X, D, FM]
    h = rmsnorm(x, g2) {eps = eps}
    r = linear(h, wr)
    p, id = router(r) {top = J}
    u = expert_linear(h, e1, id)
    g = expert_linear(h, e3, id)
    m = silu_mul(u, g)
    y = expert_merge(m, e2, id, p)
    x = dense_mlp(h, x) {F = FS}
    x = add(x, y)
  }
  weight gf: w [D]
  weight head: w [V, D]
  h = rmsnorm(x, gf) {eps = eps}
  logits = linear(h, head)
  output logits
}
