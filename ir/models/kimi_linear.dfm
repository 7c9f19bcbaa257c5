# Kimi Linear and the text part of Kimi K3: linear attention whose keys forget by channel (KDA) and, every few layers,
# latent attention without positions; the first layers are dense, the others mixtures of experts. In K3 the input of a
# half layer is a mean over what earlier blocks of layers left (attention residuals), routed experts work on a narrower
# row, gates are bounded, and both kinds of attention have full output gates. Checkpoints quantise no projection to and
# from that row, so it has no module name here.

config kimi_linear {
  read housekeeping
  param L = num_hidden_layers
  require L >= 1, "num_hidden_layers is at least 1"
  param D = hidden_size
  require D >= 1, "hidden_size is at least 1"
  param V = vocab_size
  require V >= 1, "vocab_size is at least 1"
  param H = num_attention_heads
  require H >= 1, "num_attention_heads is at least 1"
  read rms
  read latent
  param positions = mla_use_nope
  require positions == 1, "latent attention of this family has no positions"
  param gated = mla_use_output_gate else 0
  param tie = tie_word_embeddings else 0
  ignore num_key_value_heads, num_nextn_predict_layers
  reject attention_bias
}

# sizes of the linear attention: HL heads of EL elements, KL taps
config channel_delta {
  param HL = linear_attn_config.num_heads
  require HL >= 1, "num_heads of linear_attn_config is at least 1"
  param EL = linear_attn_config.head_dim
  require EL >= 1, "head_dim of linear_attn_config is at least 1"
  param KL = linear_attn_config.short_conv_kernel_size
  require KL >= 2, "short_conv_kernel_size of linear_attn_config is at least 2"
  param whole = linear_attn_config.use_full_rank_gate else 0
  param bound = linear_attn_config.gate_lower_bound else 0
  require bound <= 0, "gate_lower_bound of linear_attn_config is not positive"
}

# by the names that the router of deepseek.dfm knows, too
config kimi_experts {
  param K = first_k_dense_replace else 0
  require K >= 0, "first_k_dense_replace is not negative"
  param every = moe_layer_freq else 1
  require every == 1, "from first_k_dense_replace on, every layer of this family has experts"
  param F = intermediate_size
  param X = num_experts
  param J = num_experts_per_token
  require J >= 1, "num_experts_per_token is at least 1"
  require X >= J, "num_experts_per_token is at most num_experts"
  param FM = moe_intermediate_size
  require FM >= 1, "moe_intermediate_size is at least 1"
  param FS = FM * num_shared_experts else 0
  param FR = routed_expert_hidden_size else 0
  require FR >= 0, "routed_expert_hidden_size is not negative"
  param routed_norm = latent_moe_use_norm else 0
  param scores = moe_router_activation_func else "sigmoid"
  require scores == "sigmoid", "experts of this family are scored by sigmoids"
  param method = topk_method else "noaux_tc"
  require method == "noaux_tc", "experts of this family are picked by corrected scores"
  param groups = num_expert_group else 1
  require X % groups == 0, "num_experts is a multiple of num_expert_group"
  param kept = topk_group else groups
  require groups >= kept, "topk_group is at most num_expert_group"
  param normal = moe_renormalize else 1
  param factor = routed_scaling_factor else 1
  param act = hidden_act else "silu"
  require act == "silu" or act == "situ", "gates of this family are SiLU or SiTU"
  ignore use_grouped_topk
}

# ---- linear attention

# queries, keys and values behind their short convolutions
block delta_inputs(h) -> q, k, v {
  weight wq: w [HL, EL, D] as "self_attn.q_proj"
  weight wk: w [HL, EL, D] as "self_attn.k_proj"
  weight wv: w [HL, EL, D] as "self_attn.v_proj"
  weight tq: w [HL, EL, KL] as "self_attn.q_conv1d"
  weight tk: w [HL, EL, KL] as "self_attn.k_conv1d"
  weight tv: w [HL, EL, KL] as "self_attn.v_conv1d"
  q = linear(h, wq)
  k = linear(h, wk)
  v = linear(h, wv)
  each q, k, v -> q, k, v {
    state lq: f32 [B, KL - 1, HL, EL]
    state lk: f32 [B, KL - 1, HL, EL]
    state lv: f32 [B, KL - 1, HL, EL]
    q = conv1d_state(lq, q, tq)
    k = conv1d_state(lk, k, tk)
    v = conv1d_state(lv, v, tv)
  }
  q = silu(q)
  k = silu(k)
  v = silu(v)
}

# how much each channel of a key keeps
block delta_decay(h) -> al {
  weight wa: w [EL, D] as "self_attn.f_a_proj"
  weight wb: w [HL, EL, EL] as "self_attn.f_b_proj"
  weight c: f32 [HL, EL]
  weight rate: f32 [HL]
  f = linear(h, wa)
  f = linear(f, wb)
  if bound < 0 {
    al = channel_decay_bounded(f, c, rate) {bound = bound}
  } else {
    al = channel_decay(f, c, rate)
  }
}

# scores of the output gate
block delta_gate(h) -> z {
  if whole > 0 {
    weight w: w [HL, EL, D] as "self_attn.g_proj"
    z = linear(h, w)
  } else {
    weight wa: w [EL, D] as "self_attn.g_a_proj"
    weight wb: w [HL, EL, EL] as "self_attn.g_b_proj"
    z = linear(h, wa)
    z = linear(z, wb)
  }
}

block channel_attention(h) -> a {
  weight wb: w [HL, D] as "self_attn.b_proj"
  weight gain: w [EL]
  weight wo: w [D, HL, EL] as "self_attn.o_proj"
  q, k, v = delta_inputs(h)
  q = unit_rows(q) {by = rsqrt(EL)}
  k = unit_rows(k)
  al = delta_decay(h)
  be = linear(h, wb)
  be = sigmoid(be)
  each q, k, v, al, be -> o {
    state delta: f32 [B, HL, EL, EL]
    o = channel_delta(q, k, v, al, be, delta)
  }
  z = delta_gate(h)
  o = rmsnorm_sigmoid(o, z, gain) {eps = eps}
  a = merge(o, wo)
}

# ---- latent attention

block placeless_attention(h) -> a {
  weight wuk: w [H, EN, C] as "self_attn.kv_b_proj"
  weight wuv: w [H, EV, C] as "self_attn.kv_b_proj"
  weight wo: w [D, H, EV] as "self_attn.o_proj"
  if QR > 0 {
    cq = query_latent(h)
    qn, qr = latent_queries(cq) {W = QR}
  } else {
    qn, qr = latent_queries(h) {W = D}
  }
  c, kr = latent_rows(h)
  each qn, qr, c, kr -> o {
    o = attend_latent(qn, qr, c, kr, wuk, wuv)
  }
  if gated > 0 {
    weight wg: w [H, EV, D] as "self_attn.g_proj"
    g = linear(h, wg)
    g = sigmoid(g)
    o = mul(o, g)
  }
  a = merge(o, wo)
}

# ---- feed-forward layers

block kimi_gate(u, g) -> m {
  if act == "situ" {
    m = situ_mul(u, g) {beta = activation_situ_beta, linear = activation_situ_linear_beta}
  } else {
    m = silu_mul(u, g)
  }
}

block kimi_dense(h) -> y {
  weight w1: w [F, D] as "mlp.gate_proj"
  weight w3: w [F, D] as "mlp.up_proj"
  weight w2: w [D, F] as "mlp.down_proj"
  u = linear(h, w1)
  g = linear(h, w3)
  m = kimi_gate(u, g)
  y = linear(m, w2)
}

# experts that a router picks, on rows of width W
block kimi_routed(x, id, p, W) -> y {
  weight e1: w [X, FM, W] as "block_sparse_moe.experts.w1"
  weight e3: w [X, FM, W] as "block_sparse_moe.experts.w3"
  weight e2: w [X, W, FM] as "block_sparse_moe.experts.w2"
  u = expert_linear(x, e1, id)
  g = expert_linear(x, e3, id)
  m = kimi_gate(u, g)
  y = expert_merge(m, e2, id, p)
}

# experts of one layer: the router and the shared ones see the whole row
block kimi_experts(h) -> y {
  p, id = deepseek_router(h)
  if FR > 0 {
    weight down: w [FR, D]
    weight up: w [D, FR]
    x = linear(h, down)
    y = kimi_routed(x, id, p) {W = FR}
    if routed_norm > 0 {
      weight gain: w [FR]
      y = rmsnorm(y, gain) {eps = eps}
    }
    y = linear(y, up)
  } else {
    y = kimi_routed(h, id, p) {W = D}
  }
  if FS > 0 {
    weight s1: w [FS, D] as "block_sparse_moe.shared_experts.gate_proj"
    weight s3: w [FS, D] as "block_sparse_moe.shared_experts.up_proj"
    weight s2: w [D, FS] as "block_sparse_moe.shared_experts.down_proj"
    u = linear(h, s1)
    g = linear(h, s3)
    m = kimi_gate(u, g)
    z = linear(m, s2)
    y = add(y, z)
  }
}

# ---- layers, counted from 1 in the lists of `linear_attn_config`

block kimi_attention(h, l) -> a {
  weight g1: w [D]
  h = rmsnorm(h, g1) {eps = eps}
  if l + 1 in linear_attn_config.full_attn_layers {
    a = placeless_attention(h)
  } else {
    require l + 1 in linear_attn_config.kda_layers, "a layer is in full_attn_layers or in kda_layers"
    a = channel_attention(h)
  }
}

block kimi_feed_forward(h, l) -> y {
  weight g2: w [D]
  h = rmsnorm(h, g2) {eps = eps}
  if l >= K {
    y = kimi_experts(h)
  } else {
    y = kimi_dense(h)
  }
}

# mean of the running state and those in the bank
block residual_mean(x, bank) -> h {
  weight gain: w [D]
  weight query: w [D]
  h = bank_mix(bank, x, gain, query) {eps = eps}
}

model kimi_linear for "KimiLinearForCausalLM" {
  read kimi_linear
  read channel_delta
  read kimi_experts
  reject attn_res_block_size
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  repeat L as l {
    a = kimi_attention(x) {l = l}
    x = add(x, a)
    y = kimi_feed_forward(x) {l = l}
    x = add(x, y)
  }
  logits = unembed(x, table)
  output logits
}

# Every RB layers the running state goes to the bank, and starts anew from what attention gives. Before the first layer
# there is nothing to mix, so two vectors that a checkpoint has for it are not here.
model kimi_k3 for "KimiK3ForConditionalGeneration" in text_config {
  read kimi_linear
  read channel_delta
  read kimi_experts
  param RB = attn_res_block_size
  require RB >= 1, "attn_res_block_size is at least 1"
  ignore vision_config, media_placeholder_token_id, ignore_index, image_placeholder
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  bank = bank_open(x)
  repeat L as l {
    param banked = l // RB
    if l == 0 {
      x = kimi_attention(x) {l = l}
    } else if l % RB == 0 {
      h = residual_mean(x, bank)
      bank = bank_append(bank, x)
      x = kimi_attention(h) {l = l}
    } else {
      h = residual_mean(x, bank)
      a = kimi_attention(h) {l = l}
      x = add(x, a)
    }
    h = residual_mean(x, bank)
    y = kimi_feed_forward(h) {l = l}
    x = add(x, y)
  }
  h = residual_mean(x, bank)
  logits = unembed(h, table)
  output logits
}
