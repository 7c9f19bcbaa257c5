# Multi-head latent attention: the cache holds one latent row and one rotary row per token for all heads, C + ER
# numbers. A model that uses these blocks has H heads of EN + ER query elements and EV value elements, and QR the width
# of the queries' own latent, 0 where they have none.

config latent {
  param QR = q_lora_rank else 0
  require QR >= 0, "q_lora_rank is not negative"
  param C = kv_lora_rank
  require C >= 1, "kv_lora_rank is at least 1"
  param EN = qk_nope_head_dim
  require EN >= 1, "qk_nope_head_dim is at least 1"
  param ER = qk_rope_head_dim
  require ER >= 2, "qk_rope_head_dim is at least 2"
  require ER % 2 == 0, "qk_rope_head_dim is even, as rotary embeddings turn pairs"
  param EV = v_head_dim
  require EV >= 1, "v_head_dim is at least 1"
  param theta = rope_theta else rope_parameters.rope_theta else 10000
  require theta > 0, "rope_theta is positive"
  ignore head_dim, qk_head_dim, rope_interleave
  read rope_scaling
}

# the queries' latent row
block query_latent(h) -> c {
  weight wdq: w [QR, D] as "self_attn.q_a_proj"
  weight gq: w [QR]
  c = linear(h, wdq)
  c = rmsnorm(c, gq) {eps = eps}
}

# queries from a row of width W, without and with positions
block latent_queries(c, W) -> qn, qr {
  weight wuq: w [H, EN, W] as "self_attn.q_b_proj"
  weight wqr: w [H, ER, W] as "self_attn.q_b_proj"
  qn = linear(c, wuq)
  qr = linear(c, wqr)
}

# the rows that the cache keeps
block latent_rows(h) -> c, kr {
  weight wdkv: w [C, D] as "self_attn.kv_a_proj_with_mqa"
  weight gkv: w [C]
  weight wkr: w [ER, D] as "self_attn.kv_a_proj_with_mqa"
  c = linear(h, wdkv)
  c = rmsnorm(c, gkv) {eps = eps}
  kr = linear(h, wkr)
}

# Attention on queries and new rows, inside `each`. Absorbed: each head's key matrix goes into the query and its value
# matrix behind the attention, which then works on latent rows. Expanded: keys and values of all heads are made from the
# cache first, which pays where enough new tokens share that work.
block attend_latent(qn, qr, c, kr, wuk, wuv) -> o {
  state cc: kv [B, T, C]
  state rc: kv [B, T, ER]
  cc = append(cc, c) {past = past}
  rc = append(rc, kr) {past = past}
  if S * (2 * C - EN - EV) > C * (EN + EV) {
    kn = linear(cc, wuk)
    v = linear(cc, wuv)
    o = mla_expanded(qn, qr, kn, rc, v) {past = past, scale = rsqrt(EN + ER)}
  } else {
    qc = absorb(qn, wuk)
    o = mla(qc, qr, cc, rc) {past = past, scale = rsqrt(EN + ER)}
    o = unabsorb(o, wuv)
  }
}

# the same with rotary positions, and back to the width
block latent_attention(qn, qr, c, kr) -> a {
  weight wuk: w [H, EN, C] as "self_attn.kv_b_proj"
  weight wuv: w [H, EV, C] as "self_attn.kv_b_proj"
  weight wo: w [D, H, EV] as "self_attn.o_proj"
  each qn, qr, c, kr -> o {
    q2 = rope(qr) {past = past, theta = theta}
    k2 = rope(kr) {past = past, theta = theta}
    o = attend_latent(qn, q2, c, k2, wuk, wuv)
  }
  a = merge(o, wo)
}

# the same over the tokens that `picks` names
block picked_latent_attention(qn, qr, c, kr, picks) -> a {
  weight wuk: w [H, EN, C] as "self_attn.kv_b_proj"
  weight wuv: w [H, EV, C] as "self_attn.kv_b_proj"
  weight wo: w [D, H, EV] as "self_attn.o_proj"
  each qn, qr, c, kr, picks -> o {
    state cc: kv [B, T, C]
    state rc: kv [B, T, ER]
    q2 = rope(qr) {past = past, theta = theta}
    k2 = rope(kr) {past = past, theta = theta}
    cc = append(cc, c) {past = past}
    rc = append(rc, k2) {past = past}
    qc = absorb(qn, wuk)
    o = sparse_mla(qc, q2, cc, rc, picks) {past = past, scale = rsqrt(EN + ER)}
    o = unabsorb(o, wuv)
  }
  a = merge(o, wo)
}

# Picks of the lightning indexer: HI small heads of EI elements score every cached token by the queries' latent row,
# the best KI are looked at. It has a cache of its own, of keys of EI elements.
block index_picks(h, cq) -> picks {
  weight wiq: w [HI, EI, QR] as "self_attn.indexer.wq_b"
  weight wik: w [EI, D] as "self_attn.indexer.wk"
  weight gi: w [EI]
  weight bi: w [EI]
  weight wiw: w [HI, D] as "self_attn.indexer.weights_proj"
  q = linear(cq, wiq)
  k = linear(h, wik)
  k = layernorm(k, gi, bi) {eps = 1e-6}
  z = linear(h, wiw)
  each q, k, z -> picks {
    state ic: kv [B, T, EI]
    qi = rope_partial(q) {past = past, theta = theta, turned = ER}
    ki = rope_partial(k) {past = past, theta = theta, turned = ER}
    ic = append(ic, ki) {past = past}
    picks = indexer(qi, z, ic) {past = past, top = KI}
  }
}
