# DeepSeek-V4. A token has one latent row, key and value of all heads. Layers look at a window of tokens and, where they
# compress, at rows that pool the past: all rows of 128 tokens, or of 4 tokens those that an indexer picks. The hidden
# state is several streams (hyper-connections); all layers have experts, the first of them picked by a table. Heads for
# multi-token prediction are not part of a step. Compressors, indexer weights and hyper-connections have no module name
# here, as checkpoints do not quantise them. Indexers may rotate what they multiply before they quantise it, which
# cancels.

config deepseek_v4 {
  read housekeeping
  param L = num_hidden_layers
  require L >= 1, "num_hidden_layers is at least 1"
  param D = hidden_size
  require D >= 1, "hidden_size is at least 1"
  param V = vocab_size
  require V >= 1, "vocab_size is at least 1"
  param H = num_attention_heads
  param keys = num_key_value_heads else 1
  require keys == 1, "all heads of this family share one latent row"
  param OG = o_groups
  require OG >= 1, "o_groups is at least 1"
  require H % OG == 0, "num_attention_heads is a multiple of o_groups"
  param OR = o_lora_rank
  require OR >= 1, "o_lora_rank is at least 1"
  param E = head_dim
  param QR = q_lora_rank
  require QR >= 1, "q_lora_rank is at least 1"
  param ER = qk_rope_head_dim else E * partial_rotary_factor // 1
  require ER >= 2, "at least one pair of a head is turned"
  require ER % 2 == 0, "qk_rope_head_dim is even, as rotary embeddings turn pairs"
  require E > ER, "head_dim is more than qk_rope_head_dim"
  param W = sliding_window
  require W >= 2, "sliding_window is at least 2"
  param near = rope_theta else rope_parameters.main.rope_theta else 10000
  require near > 0, "rope_theta is positive"
  param far = compress_rope_theta else rope_parameters.compress.rope_theta else 160000
  require far > 0, "compress_rope_theta is positive"
  read rms
  param tie = tie_word_embeddings else 0
  ignore num_nextn_predict_layers, rope_parameters
  reject attention_bias, mlp_bias
}

# sizes of the indexer
config row_picking {
  param HI = index_n_heads
  require HI >= 1, "index_n_heads is at least 1"
  param EI = index_head_dim
  require EI > ER, "index_head_dim is more than qk_rope_head_dim"
  param KI = index_topk
  require KI >= 1, "index_topk is at least 1"
}

config hyper_connections {
  param M = hc_mult
  require M >= 1, "hc_mult is at least 1"
  param rounds = hc_sinkhorn_iters else 20
  require rounds >= 2, "hc_sinkhorn_iters is at least 2"
  param hyper_eps = hc_eps else 1e-6
}

# `expert_dtype` says how a checkpoint stores the routed experts
config listed_experts {
  param X = n_routed_experts
  param J = num_experts_per_tok
  require J >= 1, "num_experts_per_tok is at least 1"
  require X >= J, "num_experts_per_tok is at most n_routed_experts"
  param FM = moe_intermediate_size
  require FM >= 1, "moe_intermediate_size is at least 1"
  param FS = FM * n_shared_experts else FM
  param factor = routed_scaling_factor else 1.5
  param scoring = scoring_func else "sqrtsoftplus"
  require scoring == "sqrtsoftplus", "experts of this family are scored by the square root of softplus"
  param method = topk_method else "noaux_tc"
  require method == "noaux_tc", "experts of this family are picked by corrected scores"
  param normal = norm_topk_prob else 1
  require normal == 1, "weights of this family's experts are normalised"
  param listed = num_hash_layers else 0
  param limit = swiglu_limit else 10
  require limit > 0, "swiglu_limit is positive"
  param act = hidden_act else "silu"
  require act == "silu", "this family has SiLU gates only"
  ignore expert_dtype, router_jitter_noise
}

# ---- hyper-connections

# scores of the streams, with the biases and scales that go with them, and the input of a half layer
block stream_input(x) -> h, y, c, g {
  weight w: f32 [M + 2, M, M, D]
  weight c: f32 [M + 2, M]
  weight g: f32 [3]
  y = stream_scores(x, w) {eps = eps}
  h = stream_mix(x, y, c, g) {eps = hyper_eps}
}

# the streams as one, behind the last layer
block stream_output(x) -> h {
  weight w: f32 [1, M, M, D]
  weight c: f32 [1, M]
  weight g: f32 [1]
  y = stream_scores(x, w) {eps = eps}
  h = stream_mix(x, y, c, g) {eps = hyper_eps}
}

# ---- attention

# pooled rows of width P: each of `ratio` tokens, or of twice as many, half of them of the window before, in `ways` = 2
block pooled_rows(h, P, ways, ratio) -> rows {
  weight wk: w [ways, P, D]
  weight wg: w [ways, P, D]
  weight place: f32 [ratio, ways, P]
  weight gain: w [P]
  k = linear(h, wk)
  g = linear(h, wg)
  each k, g -> rows {
    state lk: f32 [B, ways * ratio - 1, ways, P]
    state lg: f32 [B, ways * ratio - 1, ways, P]
    state rows: kv [B, (T + ratio - 1) // ratio, P]
    k = slide_window(lk, k)
    g = slide_window(lg, g)
    new = pool_tokens(k, g, place) {past = past, fresh = fresh}
    new = rmsnorm(new, gain) {eps = eps}
    new = rope_tail(new) {past = past, theta = far, turned = ER, every = ratio}
    rows = append_pooled(rows, new) {past = past, fresh = fresh, ratio = ratio}
  }
}

# the pooled rows that each token looks at, picked on narrower rows of the same tokens
block row_picks(h, cq, ratio) -> picks {
  weight wq: w [HI, EI, QR] as "attn.indexer.wq_b"
  weight wz: w [HI, D]
  q = linear(cq, wq)
  z = linear(h, wz)
  keys = pooled_rows(h) {P = EI, ways = 2, ratio = ratio}
  each q, z, keys -> picks {
    q = rope_tail(q) {past = past, theta = far, turned = ER}
    picks = row_indexer(q, z, keys) {past = past, ratio = ratio, top = KI}
  }
}

# attention of one layer
block compressed_attention(h, l) -> a {
  param kind = layer_types[l] else "by ratio"
  param ratio = 0
  if kind == "by ratio" {
    param ratio = compress_ratios[l]
    require ratio == 0 or ratio == 4 or ratio == 128, "a layer pools 4 or 128 tokens, or 0: none"
    if ratio == 4 {
      param kind = "compressed_sparse_attention"
    }
  } else if kind == "compressed_sparse_attention" {
    param ratio = compress_rates.compressed_sparse_attention else 4
  } else if kind == "heavily_compressed_attention" {
    param ratio = compress_rates.heavily_compressed_attention else 128
  } else {
    require kind == "sliding_attention", "this kind of attention is not known"
  }
  weight wdq: w [QR, D] as "attn.wq_a"
  weight gq: w [QR]
  weight wq: w [OG, H // OG, E, QR] as "attn.wq_b"
  weight wx: w [E, D] as "attn.wkv"
  weight gx: w [E]
  weight sinks: f32 [OG, H // OG]
  weight wa: w [OG, OR, H // OG, E] as "attn.wo_a"
  weight wb: w [D, OG, OR] as "attn.wo_b"
  cq = linear(h, wdq)
  cq = rmsnorm(cq, gq) {eps = eps}
  q = linear(cq, wq)
  q = rmsnorm_plain(q) {eps = eps}
  x = linear(h, wx)
  x = rmsnorm(x, gx) {eps = eps}
  param theta = near
  if ratio > 0 {
    param theta = far
    param ways = 1
    if kind == "compressed_sparse_attention" {
      read row_picking
      param ways = 2
      picks = row_picks(h, cq) {ratio = ratio}
    }
    rows = pooled_rows(h) {P = E, ways = ways, ratio = ratio}
  }
  each q, x -> o {
    state last: kv [B, W - 1, E]
    q = rope_tail(q) {past = past, theta = theta, turned = ER}
    x = rope_tail(x) {past = past, theta = theta, turned = ER}
    z = slide_window(last, x)
    n, m, d = window_latent(q, z, sinks) {past = past}
    if ratio == 0 {
      o = latent_mean(n, d)
    } else {
      if kind == "compressed_sparse_attention" {
        n2, m2, d2 = picked_latent(q, rows, picks) {past = past, ratio = ratio}
      } else {
        n2, m2, d2 = pooled_latent(q, rows) {past = past, ratio = ratio}
      }
      o = latent_join(n, m, d, n2, m2, d2)
    }
    o = rope_tail(o) {past = past, theta = theta, turned = ER, way = -1}
  }
  o = merge_groups(o, wa)
  a = merge(o, wb)
}

# ---- experts

# gated feed-forward layer that all tokens meet
block clamped_mlp(h) -> y {
  weight s1: w [FS, D] as "ffn.shared_experts.w1"
  weight s3: w [FS, D] as "ffn.shared_experts.w3"
  weight s2: w [D, FS] as "ffn.shared_experts.w2"
  u = linear(h, s1)
  g = linear(h, s3)
  m = silu_mul_clamped(u, g) {limit = limit}
  y = linear(m, s2)
}

# experts of one layer on normalised h; the first layers look up which in a table of all tokens
block listed_experts(h, ids, l) -> y {
  weight wr: w [X, D] as "ffn.gate"
  weight e1: w [X, FM, D] as "ffn.experts.w1"
  weight e3: w [X, FM, D] as "ffn.experts.w3"
  weight e2: w [X, D, FM] as "ffn.experts.w2"
  param routing = mlp_layer_types[l] else "by number"
  r = linear(h, wr)
  s = sqrt_softplus(r)
  if routing == "hash_moe" or routing == "by number", routing == "hash_moe" or l < listed {
    weight list: int [V, J] in X distinct J
    p, id = pick_listed(s, list, ids)
  } else {
    require routing == "moe" or routing == "by number", "this kind of layer is not known"
    weight correction: f32 [X]
    p, id = pick_biased(s, correction) {top = J}
  }
  p = normalise(p) {scale = factor}
  u = expert_linear(h, e1, id)
  g = expert_linear(h, e3, id)
  m = silu_mul_clamped(u, g) {limit = limit}
  y = expert_merge(m, e2, id, p)
  z = clamped_mlp(h)
  y = add(y, z)
}

model deepseek_v4 for "DeepseekV4ForCausalLM" {
  read deepseek_v4
  read hyper_connections
  read listed_experts
  input ids: int [N] in V
  weight table: w [V, D] as "embed"
  x = gather(table, ids)
  x = stream_copies(x) {copies = M}
  repeat L as l {
    h, y, c, g = stream_input(x)
    weight g1: w [D]
    h = rmsnorm(h, g1) {eps = eps}
    a = compressed_attention(h) {l = l}
    x = stream_update(x, a, y, c, g) {eps = hyper_eps, rounds = rounds}
    h, y, c, g = stream_input(x)
    weight g2: w [D]
    h = rmsnorm(h, g2) {eps = eps}
    a = listed_experts(h, ids) {l = l}
    x = stream_update(x, a, y, c, g) {eps = hyper_eps, rounds = rounds}
  }
  h = stream_output(x)
  logits = unembed(h, table)
  output logits
}
