# Nemotron-H and Nemotron 3: Mamba-2 layers, a few of attention without positions, and plain or expert layers with
# squared ReLU, each with one norm and one residual. Experts may work on a narrower latent row. Heads for multi-token
# prediction are not part of a step.

# attention without positions
block attend_nowhere(h) -> a {
  weight wq: w [G, H // G, E, D] as "mixer.q_proj"
  weight wk: w [G, E, D] as "mixer.k_proj"
  weight wv: w [G, E, D] as "mixer.v_proj"
  weight wo: w [D, G, H // G, E] as "mixer.o_proj"
  q = linear(h, wq)
  k = linear(h, wk)
  v = linear(h, wv)
  each q, k, v -> o {
    state kc: kv [B, T, G, E]
    state vc: kv [B, T, G, E]
    kc = append(kc, k) {past = past}
    vc = append(vc, v) {past = past}
    o = attention(q, kc, vc) {past = past}
  }
  a = merge(o, wo)
}

# two projections of inner width F with squared ReLU between them
block relu2_mlp(h, F) -> y {
  weight w1: w [F, D] as "mixer.up_proj"
  weight w2: w [D, F] as "mixer.down_proj"
  u = linear(h, w1)
  u = relu_squared(u)
  y = linear(u, w2)
}

# experts of width FM on rows of width W
block relu2_experts(h, id, p, W) -> y {
  weight e1: w [X, FM, W] as "mixer.experts.up_proj"
  weight e2: w [X, W, FM] as "mixer.experts.down_proj"
  u = expert_linear(h, e1, id)
  u = relu_squared(u)
  y = expert_merge(u, e2, id, p)
}

# experts, and one that all tokens share
block nemotron_experts(h) -> y {
  weight wr: w [X, D] as "mixer.gate"
  weight correction: w [X]
  r = linear(h, wr)
  s = sigmoid(r)
  if n_group > 1 {
    p, id = pick_grouped(s, correction) {top = J, groups = n_group, kept = topk_group}
  } else {
    p, id = pick_biased(s, correction) {top = J}
  }
  if norm_topk_prob > 0 {
    p = normalise(p) {scale = routed_scaling_factor}
  } else {
    p = scale(p) {by = routed_scaling_factor}
  }
  if latent > 0 {
    weight l1: w [latent, D] as "mixer.fc1_latent_proj"
    weight l2: w [D, latent] as "mixer.fc2_latent_proj"
    c = linear(h, l1)
    c = relu2_experts(c, id, p) {W = latent}
    y = linear(c, l2)
  } else {
    y = relu2_experts(h, id, p) {W = D}
  }
  if FS > 0 {
    weight s1: w [FS, D] as "mixer.shared_experts.up_proj"
    weight s2: w [D, FS] as "mixer.shared_experts.down_proj"
    u = linear(h, s1)
    u = relu_squared(u)
    z = linear(u, s2)
    y = add(y, z)
  }
}

model nemotron_h for "NemotronHForCausalLM" {
  read housekeeping
  param D = hidden_size
  require D >= 1, "hidden_size is at least 1"
  param V = vocab_size
  require V >= 1, "vocab_size is at least 1"
  param H = num_attention_heads
  require H >= 1, "num_attention_heads is at least 1"
  param G = num_key_value_heads else H
  require H % G == 0, "num_attention_heads is a multiple of num_key_value_heads"
  param E = attention_head_dim else head_dim else D // H
  param F = intermediate_size
  param eps = layer_norm_epsilon else norm_eps else rms_norm_eps else 1e-5
  param act = mlp_hidden_act else "relu2"
  require act == "relu2", "feed-forward layers of this family have squared ReLU"
  param gate = mamba_hidden_act else "silu"
  require gate == "silu", "state-space layers of this family have SiLU gates"
  param tie = tie_word_embeddings else 0
  read mamba2
  param X = n_routed_experts else 0
  if X > 0 {
    param J = num_experts_per_tok
    require J >= 1, "num_experts_per_tok is at least 1"
    require X >= J, "num_experts_per_tok is at most n_routed_experts"
    param FM = moe_intermediate_size
    param latent = moe_latent_size else 0
    param FS = n_shared_experts * moe_shared_expert_intermediate_size else 0
  }
  param kinds = hybrid_override_pattern else layers_block_type
  param L = len(kinds)
  require L >= 1, "the model has at least one layer"
  param stated = num_hidden_layers else L
  require stated == L, "the pattern of layers has num_hidden_layers of them"
  reject attention_bias, mlp_bias, sliding_window
  ignore mtp_hybrid_override_pattern, mtp_layers_block_type, num_nextn_predict_layers, num_logits_to_keep
  ignore moe_shared_expert_overlap, partial_rotary_factor, rope_theta
  input ids: int [N] in V
  weight table: w [V, D] as "embeddings"
  x = gather(table, ids)
  repeat L as l {
    param kind = kinds[l]
    weight g: w [D]
    h = rmsnorm(x, g) {eps = eps}
    if kind == "M" or kind == "mamba" {
      y = mamba2_mixer(h)
    } else if kind == "*" or kind == "attention" {
      y = attend_nowhere(h)
    } else if kind == "-" or kind == "mlp" {
      y = relu2_mlp(h) {F = F}
    } else {
      require kind == "E" or kind == "moe", "this kind of layer is not known"
      y = nemotron_experts(h)
    }
    x = add(x, y)
  }
  logits = unembed(x, table)
  output logits
}
