# Step-3.5-Flash and the text part of Step-3.7-Flash: full and sliding layers with heads, angles and turned parts of
# their own; norms on heads, all gains learnt as their distance from 1; outputs of heads gated by a sigmoid of the
# layer's input; experts by sigmoid with a correction, one shared; limits on gates in some layers. What a configuration
# does not name is as in the public configuration class: no gates on heads, sliding layers with the heads of full ones.
# Layers that predict further tokens, and towers for images, are left out.

# attention of one layer on projected q, k, v; gates of the heads read the layer's input h
block step_attend(h, q, k, v, window) -> a {
  weight wo: w [D, G, H // G, E] as "self_attn.o_proj"
  each q, k, v -> o {
    state kc: kv [B, T, G, E]
    state vc: kv [B, T, G, E]
    if turns == 1 {
      q = rotate(q)
      k = rotate(k)
    }
    kc = append(kc, k) {past = past}
    vc = append(vc, v) {past = past}
    o = attention(q, kc, vc) {past = past, window = window}
  }
  if gated == 1 {
    weight wg: w [G, H // G, D] as "self_attn.g_proj"
    s = linear(h, wg)
    o = gate_rows(o, s)
  }
  a = merge(o, wo)
}

# gated by SiLU, with a limit where it is not 0; the weights given
block step_mlp(h, w1, w3, w2, limit) -> y {
  u = linear(h, w1)
  g = linear(h, w3)
  if limit > 0 {
    m = silu_mul_limited(u, g) {limit = limit}
  } else {
    m = silu_mul(u, g)
  }
  y = linear(m, w2)
}

# experts likewise
block step_experts(h, id, p, limit) -> y {
  weight e1: w [X, FM, D] as "moe.gate_proj"
  weight e3: w [X, FM, D] as "moe.up_proj"
  weight e2: w [X, D, FM] as "moe.down_proj"
  u = expert_linear(h, e1, id)
  g = expert_linear(h, e3, id)
  if limit > 0 {
    m = silu_mul_limited(u, g) {limit = limit}
  } else {
    m = silu_mul(u, g)
  }
  y = expert_merge(m, e2, id, p)
}

model step for "Step3p5ForCausalLM", "Step3p7FlashForCausalLM", "Step3p7ForConditionalGeneration" in text_config {
  read decoder
  read rms
  read swiglu
  param G = num_attention_groups else num_key_value_heads else H
  require G >= 1, "num_attention_groups is at least 1"
  require E % 2 == 0, "head_dim is even, as rotary embeddings turn pairs"
  param X = moe_num_experts else num_experts else n_routed_experts
  param J = moe_top_k else num_experts_per_tok
  require J >= 1, "moe_top_k is at least 1"
  require X >= J, "moe_top_k is at most moe_num_experts"
  param FM = moe_intermediate_size
  param FS = share_expert_dim
  param shared = n_shared_experts else 1
  require shared == 1, "this family shares one expert"
  param score = scoring_func else moe_router_activation else "sigmoid"
  require score == "sigmoid", "this family scores experts by sigmoid"
  param correction = use_moe_router_bias else 1
  require correction == 1, "this family corrects the scores of experts"
  param normal = norm_expert_weight else 1
  require normal == 1, "this family brings the weights of experts to a sum"
  param factor = moe_router_scaling_factor else 1
  param gated = use_head_wise_attn_gate else 0
  param listed = count(moe_layers_enum, ",") else 0
  require listed == 0, "moe_layers_enum is a list of numbers, not a text"
  reject attention_bias, mlp_bias, use_bidirectional_attention
  ignore num_nextn_predict_layers, need_fp32_gate, att_impl_type, use_moe, max_seq_len, yarn_only_types
  ignore attention_other_setting.attention_type, attention_other_setting.true_head_dim, rope_parameters
  ignore vision_config, image_token_id, understand_projector_stride, projector_bias
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  repeat L as l {
    require layer_types[l] == "sliding_attention" or layer_types[l] == "full_attention", "a layer slides or is full"
    param window = inf
    if layer_types[l] == "sliding_attention" {
      param window = sliding_window
      require window >= 1, "sliding_window is at least 1"
      param H = num_sliding_attention_heads else attention_other_setting.num_attention_heads else H
      param G = attention_other_setting.num_attention_groups else G
      param E = attention_other_setting.head_dim else E
    }
    require H % G == 0, "the heads of a layer are a multiple of its key-value heads"
    param theta = rope_theta[l] else 10000
    param turned = E * partial_rotary_factors[l] // 2 * 2 else E
    param turns = use_rope_layers[l] else 1
    param limit = swiglu_limits[l] else 0
    param shared_limit = swiglu_limits_shared[l] else 0
    h = offset_norm(x) {W = D}
    q, k, v = qkv(h)
    q = offset_norm(q) {W = E}
    k = offset_norm(k) {W = E}
    a = step_attend(h, q, k, v) {window = window}
    x = add(x, a)
    h = offset_norm(x) {W = D}
    param dense = 1 - count(moe_layers_enum, l) else minimum(maximum(first_k_dense_replace - l, 0), 1)
    if dense > 0 {
      weight w1: w [F, D] as "mlp.gate_proj"
      weight w3: w [F, D] as "mlp.up_proj"
      weight w2: w [D, F] as "mlp.down_proj"
      y = step_mlp(h, w1, w3, w2) {limit = shared_limit}
      x = add(x, y)
    } else {
      weight wr: w [X, D] as "moe.gate"
      weight s1: w [FS, D] as "share_expert.gate_proj"
      weight s3: w [FS, D] as "share_expert.up_proj"
      weight s2: w [D, FS] as "share_expert.down_proj"
      r = linear(h, wr)
      p, id = route_sigmoid(r) {factor = factor}
      y = step_experts(h, id, p) {limit = limit}
      x = add(x, y)
      y = step_mlp(h, s1, s3, s2) {limit = shared_limit}
      x = add(x, y)
    }
  }
  logits = offset_unembed(x, table)
  output logits
}
