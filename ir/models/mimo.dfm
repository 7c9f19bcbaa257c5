# MiMo-V2-Flash: full and sliding layers with heads, widths and angles of their own; v is narrower than k and is scaled
# before it is cached; sliding layers have sinks. Experts by sigmoid with a correction, none shared. (MiMo-7B is read as
# Qwen2.) The layers that predict further tokens are left out.
model mimo_v2 for "MiMoV2FlashForCausalLM" {
  read decoder
  read rotary
  param eps = layernorm_epsilon else rms_norm_eps else 1e-6
  require eps > 0, "layernorm_epsilon is positive"
  read swiglu
  read experts
  param FM = moe_intermediate_size
  require FM >= 1, "moe_intermediate_size is at least 1"
  param score = scoring_func else "sigmoid"
  require score == "sigmoid", "this family scores experts by sigmoid"
  param groups = n_group else 1
  require groups == 1, "this family picks among all experts"
  param normal = norm_topk_prob else 1
  require normal == 1, "this family brings the weights of experts to a sum"
  param factor = routed_scaling_factor else 1
  param value_scale = attention_value_scale else 1
  param slide_sinks = add_swa_attention_sink_bias else 0
  param full_sinks = add_full_attention_sink_bias else 0
  reject attention_bias, n_shared_experts
  ignore topk_method, topk_group, sliding_window_size, attention_chunk_size
  ignore num_nextn_predict_layers, mtp_num_layers, num_mtp_layers
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  repeat L as l {
    if hybrid_layer_pattern[l] == 1 {
      param H = swa_num_attention_heads else H
      param G = swa_num_key_value_heads else G
      param EV = swa_v_head_dim else swa_head_dim else v_head_dim else E
      param E = swa_head_dim else E
      param theta = swa_rope_theta else theta
      param turned = E * partial_rotary_factor // 1 else E
      param window = sliding_window
      require window >= 1, "sliding_window is at least 1"
      param sinks = slide_sinks
    } else {
      param EV = v_head_dim else E
      param window = inf
      param sinks = full_sinks
    }
    require H % G == 0, "the heads of a layer are a multiple of its key-value heads"
    weight g1: w [D]
    h = rmsnorm(x, g1) {eps = eps}
    weight wq: w [G, H // G, E, D] as "self_attn.q_proj"
    weight wk: w [G, E, D] as "self_attn.k_proj"
    weight wv: w [G, EV, D] as "self_attn.v_proj"
    q = linear(h, wq)
    k = linear(h, wk)
    v = linear(h, wv)
    if value_scale != 1 {
      v = scale(v) {by = value_scale}
    }
    a = attend_sinks(q, k, v) {window = window, sinks = sinks}
    x = add(x, a)
    if moe_layer_freq[l] == 1 {
      weight g2: w [D]
      weight wr: w [X, D] as "mlp.gate"
      h = rmsnorm(x, g2) {eps = eps}
      r = linear(h, wr)
      p, id = route_sigmoid(r) {factor = factor}
      y = experts(h, id, p)
      x = add(x, y)
    } else {
      x = feed_forward(x)
    }
  }
  logits = unembed(x, table)
  output logits
}
