# BLOOM: no positions but a penalty on distance in the scores (ALiBi), a norm behind the embedding, full heads.
model bloom for "BloomForCausalLM" {
  read housekeeping
  param L = n_layer else num_hidden_layers
  require L >= 1, "n_layer is at least 1"
  param D = hidden_size else n_embed
  require D >= 1, "hidden_size is at least 1"
  param H = n_head else num_attention_heads
  require H >= 1, "n_head is at least 1"
  require D % H == 0, "hidden_size is a multiple of n_head"
  param E = D // H
  param F = 4 * D
  param near = (exp(log(2) * ((log(H) / log(2) + 1e-9) // 1)) + 0.5) // 1
  param V = vocab_size
  require V >= 1, "vocab_size is at least 1"
  param eps = layer_norm_epsilon else 1e-5
  reject apply_residual_connection_post_layernorm
  ignore seq_length, offset_alibi, bias_dropout_fusion, masked_softmax_fusion, skip_bias_add, skip_bias_add_qkv
  ignore unk_token_id, slow_but_exact, attention_softmax_in_fp32, num_attention_heads, n_inner
  input ids: int [N] in V
  weight table: w [V, D] as "word_embeddings"
  x = gather(table, ids)
  x = norm(x) {W = D}
  repeat L {
    h = norm(x) {W = D}
    q, k, v = qkv_biased(h)
    weight wo: w [D, H, 1, E] as "self_attention.dense"
    weight bo: w [D]
    each q, k, v -> o {
      state kc: kv [B, T, H, E]
      state vc: kv [B, T, H, E]
      kc = append(kc, k) {past = past}
      vc = append(vc, v) {past = past}
      o = attention_alibi(q, kc, vc) {past = past, near = near}
    }
    a = merge(o, wo)
    a = bias_add(a, bo)
    x = add(x, a)
    h = norm(x) {W = D}
    y = mlp_biased(h) {act = "gelu_fast"}
    x = add(x, y)
  }
  h = norm(x) {W = D}
  logits = linear(h, table)
  output logits
}
