# LLaDA: a masked diffusion model with the layers of Llama, where every token sees all others. A step that refreshes
# everything is a prefill of the whole sequence; a partial step has the tokens of one block as new ones and reads keys
# and values of all others from the cache, as if they were the past: what comes after them costs the same.
model llada for "LLaDAModelLM" {
  read housekeeping
  param L = n_layers
  require L >= 1, "n_layers is at least 1"
  param D = d_model
  require D >= 1, "d_model is at least 1"
  param H = n_heads
  require H >= 1, "n_heads is at least 1"
  param G = n_kv_heads else H
  require H % G == 0, "n_heads is a multiple of n_kv_heads"
  param E = D // H
  param F = mlp_hidden_size
  require F >= 1, "mlp_hidden_size is at least 1"
  param V = embedding_size else vocab_size
  require V >= 1, "vocab_size is at least 1"
  param eps = rms_norm_eps else 1e-5
  param tie = weight_tying else 0
  param gate = activation_type else "silu"
  require gate == "silu", "this family has SiLU gates only"
  param sort = block_type else "llama"
  require sort == "llama", "this family has layers as in Llama only"
  param norms = layer_norm_type else "rms"
  require norms == "rms", "this family has RMS norms only"
  param rotates = rope else 1
  require rotates == 1, "this family has rotary positions"
  read rotary
  reject alibi, multi_query_attention, include_bias, include_qkv_bias, attention_layer_norm, input_emb_norm
  reject residual_dropout, embedding_dropout, scale_logits, bias_for_layer_norm
  ignore max_sequence_length, mask_token_id, vocab_size, rope_full_precision, layer_norm_with_affine, mlp_ratio
  ignore attention_layer_norm_with_affine, init_device, init_fn, init_std, init_cutoff_factor, precision, flash_attention
  ignore block_group_size
  input ids: int [N] in V
  weight table: w [V, D] as "wte"
  x = gather(table, ids)
  repeat L {
    weight g1: w [D]
    weight wq: w [G, H // G, E, D] as "q_proj"
    weight wk: w [G, E, D] as "k_proj"
    weight wv: w [G, E, D] as "v_proj"
    weight wo: w [D, G, H // G, E] as "attn_out"
    h = rmsnorm(x, g1) {eps = eps}
    q = linear(h, wq)
    k = linear(h, wk)
    v = linear(h, wv)
    each q, k, v -> o {
      state kc: kv [B, T, G, E]
      state vc: kv [B, T, G, E]
      qr = rotate(q)
      kr = rotate(k)
      kc = append(kc, kr) {past = past}
      vc = append(vc, v) {past = past}
      o = attention_full(qr, kc, vc) {past = past}
    }
    a = merge(o, wo)
    x = add(x, a)
    x = feed_forward(x)
  }
  logits = unembed(x, table)
  output logits
}
