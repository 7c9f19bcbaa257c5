# BERT with its head for masked tokens: an encoder, so every token sees all others and there is no cache. Norms stand
# behind the residuals. A step with tokens of the past has no meaning here.
model bert for "BertForMaskedLM" {
  read housekeeping
  param L = num_hidden_layers
  require L >= 1, "num_hidden_layers is at least 1"
  param D = hidden_size
  require D >= 1, "hidden_size is at least 1"
  param H = num_attention_heads
  require H >= 1, "num_attention_heads is at least 1"
  require D % H == 0, "hidden_size is a multiple of num_attention_heads"
  param E = D // H
  param F = intermediate_size
  require F >= 1, "intermediate_size is at least 1"
  param V = vocab_size
  require V >= 1, "vocab_size is at least 1"
  param P = max_position_embeddings
  require P >= 1, "max_position_embeddings is at least 1"
  param K = type_vocab_size else 2
  param eps = layer_norm_eps else 1e-12
  param act = hidden_act else "gelu"
  param places_of = position_embedding_type else "absolute"
  require places_of == "absolute", "positions of this family are learnt"
  ignore attention_probs_dropout_prob, hidden_dropout_prob, gradient_checkpointing, classifier_dropout
  input ids: int [N] in V
  input kinds: int [N] in K
  weight table: w [V, D] as "word_embeddings"
  weight places: w [P, D] as "position_embeddings"
  weight sorts: w [K, D] as "token_type_embeddings"
  x = gather(table, ids)
  each x -> x {
    x = add_position(x, places) {past = past}
  }
  s = gather(sorts, kinds)
  x = add(x, s)
  x = norm(x) {W = D}
  repeat L {
    q, k, v = qkv_biased(x)
    weight wo: w [D, H, 1, E] as "attention.output.dense"
    weight bo: w [D]
    each q, k, v -> o {
      o = attention_full(q, k, v)
    }
    a = merge(o, wo)
    a = bias_add(a, bo)
    x = add(x, a)
    x = norm(x) {W = D}
    y = mlp_biased(x) {act = act}
    x = add(x, y)
    x = norm(x) {W = D}
  }
  weight wt: w [D, D] as "cls.predictions.transform.dense"
  weight bt: w [D]
  weight bv: w [V]
  h = linear(x, wt)
  h = bias_add(h, bt)
  h = activate(h) {act = act}
  h = norm(h) {W = D}
  logits = linear(h, table)
  logits = bias_add(logits, bv)
  output logits
}
