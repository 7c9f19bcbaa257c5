# Falcon: attention and feed-forward layer side by side on one residual; one key head (7B) or a few (40B, 180B), where
# each of the two has its own norm.

# two projections with an activation between them, without biases
block mlp_plain(h, act) -> y {
  weight w1: w [F, D] as "mlp.dense_h_to_4h"
  weight w2: w [D, F] as "mlp.dense_4h_to_h"
  m = linear(h, w1)
  m = activate(m) {act = act}
  y = linear(m, w2)
}

model falcon for "FalconForCausalLM", "RWForCausalLM" {
  read housekeeping
  param L = num_hidden_layers else n_layer
  require L >= 1, "num_hidden_layers is at least 1"
  param D = hidden_size
  require D >= 1, "hidden_size is at least 1"
  param H = num_attention_heads else n_head
  require H >= 1, "num_attention_heads is at least 1"
  require D % H == 0, "hidden_size is a multiple of num_attention_heads"
  param new = new_decoder_architecture else 0
  param single = multi_query else 1
  if new == 1 {
    param G = num_kv_heads else n_head_kv else H
    param norms = num_ln_in_parallel_attn else 2
  } else {
    param norms = 1
    if single == 1 {
      param G = 1
    } else {
      param G = H
    }
  }
  require H % G == 0, "num_attention_heads is a multiple of num_kv_heads"
  ignore num_kv_heads, n_head_kv, num_ln_in_parallel_attn
  param E = D // H
  param F = ffn_hidden_size else 4 * D
  param V = vocab_size
  require V >= 1, "vocab_size is at least 1"
  param eps = layer_norm_epsilon else 1e-5
  param parallel = parallel_attn else 1
  require parallel == 1, "this family has its two halves side by side"
  param act = activation else "gelu"
  param tie = tie_word_embeddings else 1
  read rotary
  reject alibi, bias
  input ids: int [N] in V
  weight table: w [V, D] as "word_embeddings"
  x = gather(table, ids)
  repeat L {
    h = norm(x) {W = D}
    if norms == 2 {
      u = norm(x) {W = D}
      y = mlp_plain(u) {act = act}
    } else {
      y = mlp_plain(h) {act = act}
    }
    weight wq: w [G, H // G, E, D] as "self_attention.q_proj"
    weight wk: w [G, E, D] as "self_attention.k_proj"
    weight wv: w [G, E, D] as "self_attention.v_proj"
    q = linear(h, wq)
    k = linear(h, wk)
    v = linear(h, wv)
    a = attend(q, k, v) {window = inf}
    x = add(x, a)
    x = add(x, y)
  }
  h = norm(x) {W = D}
  if tie > 0 {
    logits = linear(h, table)
  } else {
    weight head: w [V, D] as "lm_head"
    logits = linear(h, head)
  }
  output logits
}
