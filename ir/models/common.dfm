# What families of decoders read alike, and pieces that they share. A block sees the parameters of the model that uses it.

# fields of a configuration that do not change the work of a step; rope scaling changes angles only
config housekeeping {
  ignore model_type, transformers_version, torch_dtype, dtype, auto_map, use_cache, pretraining_tp, is_decoder
  ignore bos_token_id, eos_token_id, pad_token_id, max_position_embeddings, model_max_length, initializer_range
  ignore attention_dropout, hidden_dropout, embd_dropout, resid_pdrop, router_aux_loss_coef, output_router_logits
  ignore rope_scaling, ep_size, _name_or_path, id2label, label2id, return_dict
  ignore length_penalty, max_length, num_beam_groups, num_beams, num_return_sequences, repetition_penalty
  ignore temperature, top_k, top_p, typical_p
}

# sizes of a decoder-only transformer with grouped-query attention, by the names that most configurations use
config decoder {
  read housekeeping
  param L = num_hidden_layers
  require L >= 1, "num_hidden_layers is at least 1"
  param D = hidden_size
  require D >= 1, "hidden_size is at least 1"
  param V = vocab_size
  require V >= 1, "vocab_size is at least 1"
  param H = num_attention_heads
  require H >= 1, "num_attention_heads is at least 1"
  param G = num_key_value_heads else H
  require G >= 1, "num_key_value_heads is at least 1"
  require H % G == 0, "num_attention_heads is a multiple of num_key_value_heads"
  param E = head_dim else D // H
  require E >= 2, "head_dim is at least 2"
  param tie = tie_word_embeddings else 0
}

# rotary positions over the whole head or its first elements; scaling changes angles, not work
config rotary {
  require E % 2 == 0, "head_dim is even, as rotary embeddings turn pairs"
  param theta = rope_theta else rope_parameters.rope_theta else 10000
  require theta > 0, "rope_theta is positive"
  param turned = rotary_dim else E * partial_rotary_factor // 1 else E * rope_parameters.partial_rotary_factor // 1 else E
  require turned >= 2, "at least one pair of a head is turned"
  require turned <= E, "no more is turned than a head has"
  require turned % 2 == 0, "rotary embeddings turn pairs"
  ignore rope_interleave
  read rope_scaling
}

# scaling of rotary angles, by the names of newer files
config rope_scaling {
  ignore rope_parameters.rope_type, rope_parameters.type, rope_parameters.factor, rope_parameters.beta_fast
  ignore rope_parameters.beta_slow, rope_parameters.mscale, rope_parameters.mscale_all_dim
  ignore rope_parameters.original_max_position_embeddings, rope_parameters.low_freq_factor
  ignore rope_parameters.high_freq_factor, rope_parameters.truncate
}

# inner width of a gated feed-forward layer with SiLU
config swiglu {
  param F = intermediate_size
  require F >= 1, "intermediate_size is at least 1"
  param act = hidden_act else "silu"
  require act == "silu", "this family has SiLU gates only"
}

# RMS norms
config rms {
  param eps = rms_norm_eps else 1e-6
  require eps > 0, "rms_norm_eps is positive"
}

# rotary positions of new tokens, inside `each`
block rotate(x) -> y {
  if turned == E {
    y = rope(x) {past = past, theta = theta}
  } else {
    y = rope_partial(x) {past = past, theta = theta, turned = turned}
  }
}

# projections to q, k, v
block qkv(h) -> q, k, v {
  weight wq: w [G, H // G, E, D] as "self_attn.q_proj"
  weight wk: w [G, E, D] as "self_attn.k_proj"
  weight wv: w [G, E, D] as "self_attn.v_proj"
  q = linear(h, wq)
  k = linear(h, wk)
  v = linear(h, wv)
}

# attention on projected q, k, v of one layer: rotate, append to the cache, attend, project back to the width
block attend(q, k, v, window) -> a {
  weight wo: w [D, G, H // G, E] as "self_attn.o_proj"
  each q, k, v -> o {
    state kc: kv [B, T, G, E]
    state vc: kv [B, T, G, E]
    qr = rotate(q)
    kr = rotate(k)
    kc = append(kc, kr) {past = past}
    vc = append(vc, v) {past = past}
    o = attention(qr, kc, vc) {past = past, window = window}
  }
  a = merge(o, wo)
}

# gated feed-forward layer on normalised h; F is its inner width
block dense_mlp(h, F) -> y {
  weight w1: w [F, D] as "mlp.gate_proj"
  weight w3: w [F, D] as "mlp.up_proj"
  weight w2: w [D, F] as "mlp.down_proj"
  u = linear(h, w1)
  g = linear(h, w3)
  m = silu_mul(u, g)
  y = linear(m, w2)
}

# the same with its norm in front and the residual behind
block feed_forward(x) -> x {
  weight g2: w [D]
  h = rmsnorm(x, g2) {eps = eps}
  y = dense_mlp(h) {F = F}
  x = add(x, y)
}

# last norm and scores of all tokens, by the embedding's own table where the two are tied
block unembed(x, table) -> logits {
  weight gf: w [D]
  h = rmsnorm(x, gf) {eps = eps}
  if tie > 0 {
    logits = linear(h, table)
  } else {
    weight head: w [V, D] as "lm_head"
    logits = linear(h, head)
  }
}

# a norm whose gain is learnt as its distance from 1, on rows of width W
block offset_norm(x, W) -> y {
  weight gain: w [W]
  y = rmsnorm_offset(x, gain) {eps = eps}
}

# as `unembed` where gains are learnt as their distance from 1
block offset_unembed(x, table) -> logits {
  h = offset_norm(x) {W = D}
  if tie > 0 {
    logits = linear(h, table)
  } else {
    weight head: w [V, D] as "lm_head"
    logits = linear(h, head)
  }
}
