# State-space layers: Mamba-2 in groups of heads, alone and with attention and experts in Nemotron-H; Mamba-1 with
# attention and experts in Jamba. States are the last inputs of the convolutions and one matrix per head.

# sizes of a Mamba-2 layer: MH heads of ME elements in MG groups, states of MN elements, MK taps
config mamba2 {
  param MH = mamba_num_heads else num_heads
  require MH >= 1, "a layer has at least one head"
  param ME = mamba_head_dim else head_dim
  require ME >= 1, "a head has at least one element"
  param MG = n_groups else 1
  require MG >= 1, "n_groups is at least 1"
  require MH % MG == 0, "the number of heads is a multiple of n_groups"
  param MR = MH // MG
  param MN = ssm_state_size else state_size
  require MN >= 1, "the state has at least one element"
  param MK = conv_kernel
  require MK >= 2, "conv_kernel is at least 2"
  param taps_bias = use_conv_bias else 1
  reject use_bias, mamba_proj_bias
  ignore expand, chunk_size, time_step_floor, time_step_min, time_step_max, time_step_limit, time_step_rank
  ignore mamba_ssm_cache_dtype, use_mamba_kernels, rescale_prenorm_residual, residual_in_fp32
}

# a projection and its causal convolution with SiLU; `state` is one input less than there are taps
block mamba2_input(h, W) -> x {
  weight w: w [MG, W, D] as "mixer.in_proj"
  weight taps: w [MG, W, MK] as "mixer.conv1d"
  x = linear(h, w)
  each x -> x {
    state last: f32 [B, MK - 1, MG, W]
    x = conv1d_state(last, x, taps)
  }
  if taps_bias > 0 {
    weight c: w [MG, W]
    x = bias_add(x, c)
  }
  x = silu(x)
}

# the same with heads
block mamba2_heads(h) -> x {
  weight w: w [MG, MR, ME, D] as "mixer.in_proj"
  weight taps: w [MG, MR, ME, MK] as "mixer.conv1d"
  x = linear(h, w)
  each x -> x {
    state last: f32 [B, MK - 1, MG, MR, ME]
    x = conv1d_state(last, x, taps)
  }
  if taps_bias > 0 {
    weight c: w [MG, MR, ME]
    x = bias_add(x, c)
  }
  x = silu(x)
}

# Mamba-2 mixer on normalised h. The weight `rate` is negative; a checkpoint holds the logarithm of its magnitude.
block mamba2_mixer(h) -> y {
  weight wz: w [MG, MR, ME, D] as "mixer.in_proj"
  weight wd: w [MG, MR, D] as "mixer.in_proj"
  weight bd: w [MG, MR]
  weight rate: w [MG, MR]
  weight share: w [MG, MR]
  weight gain: w [MG, MR, ME]
  weight wo: w [D, MG, MR, ME] as "mixer.out_proj"
  z = linear(h, wz)
  x = mamba2_heads(h)
  u = mamba2_input(h) {W = MN}
  v = mamba2_input(h) {W = MN}
  d = linear(h, wd)
  d = softplus_bias(d, bd)
  each x, d, u, v -> y {
    state ssm: f32 [B, MG, MR, ME, MN]
    y = ssd(x, d, rate, u, v, ssm)
  }
  y = add_share(y, x, share)
  y = gated_rmsnorm(y, z, gain) {eps = eps}
  y = merge(y, wo)
}

model mamba2 for "Mamba2ForCausalLM" {
  read housekeeping
  param L = num_hidden_layers
  require L >= 1, "num_hidden_layers is at least 1"
  param D = hidden_size
  require D >= 1, "hidden_size is at least 1"
  param V = vocab_size
  require V >= 1, "vocab_size is at least 1"
  param eps = layer_norm_epsilon else 1e-5
  param act = hidden_act else "silu"
  require act == "silu", "this family has SiLU gates only"
  param tie = tie_word_embeddings else 0
  param normed = rms_norm else 1
  require normed == 1, "this family has a norm behind the gate"
  read mamba2
  ignore intermediate_size, norm_before_gate
  input ids: int [N] in V
  weight table: w [V, D] as "embeddings"
  x = gather(table, ids)
  repeat L as l {
    weight g: w [D]
    h = rmsnorm(x, g) {eps = eps}
    y = mamba2_mixer(h)
    x = add(x, y)
  }
  logits = unembed(x, table)
  output logits
}
