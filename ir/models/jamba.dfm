# Jamba: Mamba-1 layers with norms on step and state inputs, attention without positions every few layers, experts in
# every other feed-forward layer.

# Mamba-1 mixer on normalised h: DI channels, states of MN elements, steps through a row of width MT
block mamba1_mixer(h) -> y {
  weight wx: w [DI, D] as "mamba.in_proj"
  weight wz: w [DI, D] as "mamba.in_proj"
  weight taps: w [DI, MK] as "mamba.conv1d"
  weight ct: w [DI]
  weight wt: w [MT, DI] as "mamba.x_proj"
  weight wb: w [MN, DI] as "mamba.x_proj"
  weight wc: w [MN, DI] as "mamba.x_proj"
  weight gt: w [MT]
  weight gb: w [MN]
  weight gc: w [MN]
  weight wd: w [DI, MT] as "mamba.dt_proj"
  weight bd: w [DI]
  weight rate: w [DI, MN]
  weight share: w [DI]
  weight wo: w [D, DI] as "mamba.out_proj"
  x = linear(h, wx)
  z = linear(h, wz)
  each x -> x {
    state last: f32 [B, MK - 1, DI]
    x = conv1d_state(last, x, taps)
  }
  x = bias_add(x, ct)
  x = silu(x)
  d = linear(x, wt)
  u = linear(x, wb)
  v = linear(x, wc)
  d = rmsnorm(d, gt) {eps = eps}
  u = rmsnorm(u, gb) {eps = eps}
  v = rmsnorm(v, gc) {eps = eps}
  d = linear(d, wd)
  d = softplus_bias(d, bd)
  each x, d, u, v -> y {
    state ssm: f32 [B, DI, MN]
    y = selective_scan(x, d, rate, u, v, ssm)
  }
  y = share_rows(y, x, share)
  y = silu_mul(z, y)
  y = linear(y, wo)
}

model jamba for "JambaForCausalLM" {
  read decoder
  read rms
  read swiglu
  param every = attn_layer_period
  require every >= 1, "attn_layer_period is at least 1"
  param first = attn_layer_offset
  param every_expert = expert_layer_period
  require every_expert >= 1, "expert_layer_period is at least 1"
  param first_expert = expert_layer_offset
  param X = num_experts
  param J = num_experts_per_tok
  require J >= 1, "num_experts_per_tok is at least 1"
  require X >= J, "num_experts_per_tok is at most num_experts"
  param FM = F
  param DI = D * mamba_expand
  require DI >= 1, "mamba_expand is at least 1"
  param MN = mamba_d_state
  require MN >= 1, "mamba_d_state is at least 1"
  param MK = mamba_d_conv
  require MK >= 2, "mamba_d_conv is at least 2"
  param MT = mamba_dt_rank
  require MT >= 1, "mamba_dt_rank is at least 1"
  param taps_bias = mamba_conv_bias else 1
  require taps_bias == 1, "convolutions of this family have a bias"
  reject mamba_proj_bias, sliding_window
  ignore use_mamba_kernels, num_logits_to_keep, calc_logits_for_entire_prompt
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  repeat L as l {
    weight g1: w [D]
    weight g2: w [D]
    h = rmsnorm(x, g1) {eps = eps}
    if l % every == first {
      y = attend_nowhere(h)
    } else {
      y = mamba1_mixer(h)
    }
    x = add(x, y)
    h = rmsnorm(x, g2) {eps = eps}
    if X > 1, l % every_expert == first_expert {
      weight wr: w [X, D] as "feed_forward.router"
      r = linear(h, wr)
      s = softmax(r)
      p, id = pick(s) {top = J}
      y = experts(h, id, p)
    } else {
      y = dense_mlp(h) {F = F}
    }
    x = add(x, y)
  }
  logits = unembed(x, table)
  output logits
}
