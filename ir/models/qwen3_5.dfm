# Qwen3.5 and 3.6, text part, dense and with experts: three layers of gated linear attention (delta rule) for one of
# full attention with a gate. Gains are learnt as their distance from 1, except behind the linear attention.

# full attention of one layer: norms on heads, a quarter of each head turned, an output gate beside the queries
block gated_attention(h) -> a {
  weight wq: w [G, H // G, E, D] as "self_attn.q_proj"
  weight wg: w [G, H // G, E, D] as "self_attn.q_proj"
  weight wk: w [G, E, D] as "self_attn.k_proj"
  weight wv: w [G, E, D] as "self_attn.v_proj"
  weight gq: w [E]
  weight gk: w [E]
  weight wo: w [D, G, H // G, E] as "self_attn.o_proj"
  q = linear(h, wq)
  g = linear(h, wg)
  k = linear(h, wk)
  v = linear(h, wv)
  q = rmsnorm_offset(q, gq) {eps = eps}
  k = rmsnorm_offset(k, gk) {eps = eps}
  each q, k, v -> o {
    state kc: kv [B, T, G, E]
    state vc: kv [B, T, G, E]
    qr = rotate(q)
    kr = rotate(k)
    kc = append(kc, kr) {past = past}
    vc = append(vc, v) {past = past}
    o = attention(qr, kc, vc) {past = past}
  }
  g = sigmoid(g)
  o = mul(o, g)
  a = merge(o, wo)
}

# a projection to heads and its causal convolution with SiLU
block delta_keys(h) -> k {
  weight w: w [GL, EL, D] as "linear_attn.in_proj_qkv"
  weight taps: w [GL, EL, KL] as "linear_attn.conv1d"
  k = linear(h, w)
  each k -> k {
    state last: f32 [B, KL - 1, GL, EL]
    k = conv1d_state(last, k, taps)
  }
  k = silu(k)
}

# the same for values, of which several heads share one of keys
block delta_values(h) -> v {
  weight w: w [GL, RL, VL, D] as "linear_attn.in_proj_qkv"
  weight taps: w [GL, RL, VL, KL] as "linear_attn.conv1d"
  v = linear(h, w)
  each v -> v {
    state last: f32 [B, KL - 1, GL, RL, VL]
    v = conv1d_state(last, v, taps)
  }
  v = silu(v)
}

# gated delta rule of one layer
block delta_attention(h) -> a {
  weight wz: w [GL, RL, VL, D] as "linear_attn.in_proj_z"
  weight wb: w [GL, RL, D] as "linear_attn.in_proj_b"
  weight wa: w [GL, RL, D] as "linear_attn.in_proj_a"
  weight ba: w [GL, RL]
  weight la: w [GL, RL]
  weight gain: w [VL]
  weight wo: w [D, GL, RL, VL] as "linear_attn.out_proj"
  q = delta_keys(h)
  k = delta_keys(h)
  v = delta_values(h)
  z = linear(h, wz)
  be = linear(h, wb)
  be = sigmoid(be)
  al = linear(h, wa)
  al = decay(al, ba, la)
  q = unit_rows(q) {by = rsqrt(EL)}
  k = unit_rows(k)
  each q, k, v, al, be -> o {
    state delta: f32 [B, GL, RL, EL, VL]
    o = gated_delta(q, k, v, al, be, delta)
  }
  o = rmsnorm_gated(o, z, gain) {eps = eps}
  a = merge(o, wo)
}

config qwen3_5 {
  read decoder
  read rotary
  read rms
  param act = hidden_act else "silu"
  require act == "silu", "this family has SiLU gates only"
  param gated = attn_output_gate else 1
  require gated == 1, "full attention of this family has a gate"
  param GL = linear_num_key_heads
  require GL >= 1, "linear_num_key_heads is at least 1"
  require linear_num_value_heads % GL == 0, "linear_num_value_heads is a multiple of linear_num_key_heads"
  param RL = linear_num_value_heads // GL
  param EL = linear_key_head_dim
  require EL >= 1, "linear_key_head_dim is at least 1"
  param VL = linear_value_head_dim
  require VL >= 1, "linear_value_head_dim is at least 1"
  param KL = linear_conv_kernel_dim
  require KL >= 2, "linear_conv_kernel_dim is at least 2"
  param full = full_attention_interval else 4
  require full >= 1, "full_attention_interval is at least 1"
  reject attention_bias
  ignore mamba_ssm_dtype, mtp_num_hidden_layers, mtp_use_dedicated_embeddings, mlp_only_layers, output_gate_type
  ignore rope_parameters.mrope_interleaved, rope_parameters.mrope_section
  ignore vision_config, image_token_id, video_token_id, vision_start_token_id, vision_end_token_id, language_model_only
}

# the first half of layer l
block qwen3_5_attention(x, l) -> x {
  weight g1: w [D]
  h = rmsnorm_offset(x, g1) {eps = eps}
  param kind = layer_types[l] else "by turns"
  if kind == "full_attention" or (l + 1) % full == 0, kind != "linear_attention" {
    a = gated_attention(h)
  } else {
    a = delta_attention(h)
  }
  x = add(x, a)
}

model qwen3_5 for "Qwen3_5ForConditionalGeneration" in text_config, "Qwen3_5ForCausalLM" {
  read qwen3_5
  read swiglu
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  repeat L as l {
    x = qwen3_5_attention(x) {l = l}
    weight g2: w [D]
    h = rmsnorm_offset(x, g2) {eps = eps}
    y = dense_mlp(h) {F = F}
    x = add(x, y)
  }
  logits = offset_unembed(x, table)
  output logits
}

model qwen3_5_moe for "Qwen3_5MoeForConditionalGeneration" in text_config, "Qwen3_5MoeForCausalLM" {
  read qwen3_5
  param X = num_experts
  param J = num_experts_per_tok
  require J >= 1, "num_experts_per_tok is at least 1"
  require X >= J, "num_experts_per_tok is at most num_experts"
  param FM = moe_intermediate_size
  param FS = shared_expert_intermediate_size
  ignore intermediate_size, norm_topk_prob, decoder_sparse_step
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  repeat L as l {
    x = qwen3_5_attention(x) {l = l}
    weight g2: w [D]
    weight wr: w [X, D] as "mlp.gate"
    weight s1: w [FS, D] as "mlp.shared_expert.gate_proj"
    weight s3: w [FS, D] as "mlp.shared_expert.up_proj"
    weight s2: w [D, FS] as "mlp.shared_expert.down_proj"
    weight ws: w [D] as "mlp.shared_expert_gate"
    h = rmsnorm_offset(x, g2) {eps = eps}
    r = linear(h, wr)
    p, id = route_softmax(r) {normal = 1}
    y = experts(h, id, p)
    z = swiglu_of(h, s1, s3, s2)
    c = linear(h, ws)
    z = gate_rows(z, c)
    y = add(y, z)
    x = add(x, y)
  }
  logits = offset_unembed(x, table)
  output logits
}
