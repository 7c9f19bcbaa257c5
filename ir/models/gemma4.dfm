# Gemma 4, text part. Sliding layers and full ones with fewer and wider key-value heads, which may use k for v; norms on
# q, k and, without a gain, v; scores are not scaled. Full layers turn only the first pairs of a head. Gains are learnt
# as they are. With experts, these stand beside the dense feed-forward layer and read the layer's input by norms of
# their own. The small models' embeddings per layer and shared caches are not expressed. Towers are left out.

# a norm with its gain on rows of width W
block rms_norm(x, W) -> y {
  weight gain: w [W]
  y = rmsnorm(x, gain) {eps = eps}
}

# attention of one layer on projected q, k, v; `wide` says that it is a full layer
block gemma4_attend(q, k, v, window, wide) -> a {
  weight wo: w [D, G, H // G, E] as "self_attn.o_proj"
  each q, k, v -> o {
    state kc: kv [B, T, G, E]
    state vc: kv [B, T, G, E]
    if wide == 1, turned < E {
      qr = rope_proportional(q) {past = past, theta = theta, turned = turned}
      kr = rope_proportional(k) {past = past, theta = theta, turned = turned}
    } else {
      qr = rope(q) {past = past, theta = theta}
      kr = rope(k) {past = past, theta = theta}
    }
    kc = append(kc, kr) {past = past}
    vc = append(vc, v) {past = past}
    o = attention(qr, kc, vc) {past = past, window = window, scale = 1}
  }
  a = merge(o, wo)
}

# experts gated by GELU, picked by a softmax over all; weights brought to sum 1, then scaled by a learnt factor each
block gemma4_experts(x, h) -> y {
  weight gr: w [D]
  weight wr: w [X, D] as "router.proj"
  weight factor: w [X]
  weight e1: w [X, FM, D] as "experts.gate_proj"
  weight e3: w [X, FM, D] as "experts.up_proj"
  weight e2: w [X, D, FM] as "experts.down_proj"
  s = rmsnorm(x, gr) {eps = eps}
  s = scale(s) {by = rsqrt(D)}
  r = linear(s, wr)
  p, id = route_softmax(r) {normal = 1}
  p = expert_weigh(p, factor, id)
  u = expert_linear(h, e1, id)
  g = expert_linear(h, e3, id)
  m = gelu_tanh_mul(u, g)
  y = expert_merge(m, e2, id, p)
}

model gemma4 for "Gemma4ForCausalLM", "Gemma4ForConditionalGeneration" in text_config {
  read decoder
  read rms
  param F = intermediate_size
  require F >= 1, "intermediate_size is at least 1"
  param act = hidden_activation else "gelu_pytorch_tanh"
  require act == "gelu_pytorch_tanh", "this family has GELU gates only"
  param mixed = enable_moe_block else 0
  if mixed == 1 {
    read experts
    param FM = moe_intermediate_size else expert_intermediate_size
    require FM >= 1, "moe_intermediate_size is at least 1"
  }
  param k_is_v = attention_k_eq_v else 0
  param cap = final_logit_softcapping else inf
  param sees = use_bidirectional_attention else "vision"
  require sees == "vision", "text tokens see those before them only"
  param local = rope_parameters.sliding_attention.rope_theta else 10000
  param global = rope_parameters.full_attention.rope_theta else 1000000
  param part = rope_parameters.full_attention.partial_rotary_factor else 1
  param sort = rope_parameters.full_attention.rope_type else "default"
  require sort == "proportional" or part == 1, "full layers turn pairs of the whole head"
  reject attention_bias, num_kv_shared_layers, hidden_size_per_layer_input, use_double_wide_mlp
  ignore vocab_size_per_layer_input, rope_parameters.sliding_attention.rope_type
  ignore vision_config, audio_config, vision_soft_tokens_per_image
  ignore image_token_id, video_token_id, audio_token_id, boi_token_id, eoi_token_id, boa_token_id, eoa_token_id
  ignore eoa_token_index
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  x = scale(x) {by = sqrt(D)}
  repeat L as l {
    require layer_types[l] == "sliding_attention" or layer_types[l] == "full_attention", "a layer slides or is full"
    if layer_types[l] == "full_attention" {
      param E = global_head_dim else E
      if k_is_v == 1 {
        param G = num_global_key_value_heads else G
      }
      param theta = global
      param turned = E * part // 2 * 2
      param window = inf
      param wide = 1
    } else {
      param theta = local
      param turned = E
      param window = sliding_window
      require window >= 1, "sliding_window is at least 1"
      param wide = 0
    }
    require H % G == 0, "the heads of a layer are a multiple of its key-value heads"
    require E % 2 == 0, "heads have an even width, as rotary embeddings turn pairs"
    require turned >= 2, "at least one pair of a head is turned"
    h = rms_norm(x) {W = D}
    weight wq: w [G, H // G, E, D] as "self_attn.q_proj"
    weight wk: w [G, E, D] as "self_attn.k_proj"
    q = linear(h, wq)
    k = linear(h, wk)
    if wide == 1, k_is_v == 1 {
      v = rmsnorm_plain(k) {eps = eps}
    } else {
      weight wv: w [G, E, D] as "self_attn.v_proj"
      v = linear(h, wv)
      v = rmsnorm_plain(v) {eps = eps}
    }
    q = rms_norm(q) {W = E}
    k = rms_norm(k) {W = E}
    a = gemma4_attend(q, k, v) {window = window, wide = wide}
    a = rms_norm(a) {W = D}
    x = add(x, a)
    h = rms_norm(x) {W = D}
    y = geglu(h) {F = F}
    if mixed == 1 {
      y = rms_norm(y) {W = D}
      h = rms_norm(x) {W = D}
      z = gemma4_experts(x, h)
      z = rms_norm(z) {W = D}
      y = add(y, z)
    }
    y = rms_norm(y) {W = D}
    x = add(x, y)
    weight factor: w [1]
    x = scale_learnt(x, factor)
  }
  logits = unembed(x, table)
  if cap < inf {
    logits = softcap(logits) {cap = cap}
  }
  output logits
}
