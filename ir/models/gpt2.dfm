# GPT-2, and GPT-3 by the same configuration: learnt positions, layer norms, GELU, biases everywhere, full heads. The
# locally banded layers of GPT-3 are not public in detail and are taken as full attention.

# a layer norm with its gain and bias
block norm(x, W) -> y {
  weight gain: w [W]
  weight bias: w [W]
  y = layernorm(x, gain, bias) {eps = eps}
}

# attention with full heads on q, k, v, without rotation; and the projection back with its bias
block attend_plain(q, k, v) -> a {
  weight wo: w [D, H, 1, E] as "self_attn.out_proj"
  weight bo: w [D]
  each q, k, v -> o {
    state kc: kv [B, T, H, E]
    state vc: kv [B, T, H, E]
    kc = append(kc, k) {past = past}
    vc = append(vc, v) {past = past}
    o = attention(q, kc, vc) {past = past}
  }
  a = merge(o, wo)
  a = bias_add(a, bo)
}

# projections to q, k, v with biases
block qkv_biased(h) -> q, k, v {
  weight wq: w [H, 1, E, D] as "self_attn.q_proj"
  weight wk: w [H, E, D] as "self_attn.k_proj"
  weight wv: w [H, E, D] as "self_attn.v_proj"
  weight bq: w [H, 1, E]
  weight bk: w [H, E]
  weight bv: w [H, E]
  q = linear(h, wq)
  k = linear(h, wk)
  v = linear(h, wv)
  q = bias_add(q, bq)
  k = bias_add(k, bk)
  v = bias_add(v, bv)
}

# two projections with an activation between them, by its name in configurations
block mlp_biased(h, act) -> y {
  weight w1: w [F, D] as "mlp.fc1"
  weight b1: w [F]
  weight w2: w [D, F] as "mlp.fc2"
  weight b2: w [D]
  u = linear(h, w1)
  u = bias_add(u, b1)
  u = activate(u) {act = act}
  y = linear(u, w2)
  y = bias_add(y, b2)
}

# an activation without a gate, by its name in configurations
block activate(u, act) -> u {
  if act == "relu" {
    u = relu(u)
  } else if act == "gelu" {
    u = gelu(u)
  } else if act == "relu2" {
    u = relu_squared(u)
  } else {
    require act == "gelu_new" or act == "gelu_fast" or act == "gelu_pytorch_tanh", "this activation is not known"
    u = gelu_tanh(u)
  }
}

model gpt2 for "GPT2LMHeadModel" {
  read housekeeping
  param L = n_layer
  require L >= 1, "n_layer is at least 1"
  param D = n_embd
  require D >= 1, "n_embd is at least 1"
  param H = n_head
  require H >= 1, "n_head is at least 1"
  require D % H == 0, "n_embd is a multiple of n_head"
  param E = D // H
  param F = n_inner else 4 * D
  require F >= 1, "n_inner is at least 1"
  param V = vocab_size
  require V >= 1, "vocab_size is at least 1"
  param P = n_positions
  require P >= 1, "n_positions is at least 1"
  param eps = layer_norm_epsilon else 1e-5
  param act = activation_function else "gelu_new"
  param tie = tie_word_embeddings else 1
  reject scale_attn_by_inverse_layer_idx, add_cross_attention
  ignore n_ctx, attn_pdrop, embd_pdrop, reorder_and_upcast_attn, scale_attn_weights, task_specific_params
  ignore summary_type, summary_use_proj, summary_proj_to_labels, summary_first_dropout, summary_activation
  input ids: int [N] in V
  weight table: w [V, D] as "wte"
  weight places: w [P, D] as "wpe"
  x = gather(table, ids)
  each x -> x {
    x = add_position(x, places) {past = past}
  }
  repeat L {
    h = norm(x) {W = D}
    q, k, v = qkv_biased(h)
    a = attend_plain(q, k, v)
    x = add(x, a)
    h = norm(x) {W = D}
    y = mlp_biased(h) {act = act}
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

# OPT: as GPT-2 with ReLU; its table of positions starts two rows early
model opt for "OPTForCausalLM" {
  read housekeeping
  param L = num_hidden_layers
  require L >= 1, "num_hidden_layers is at least 1"
  param D = hidden_size
  require D >= 1, "hidden_size is at least 1"
  param H = num_attention_heads
  require H >= 1, "num_attention_heads is at least 1"
  require D % H == 0, "hidden_size is a multiple of num_attention_heads"
  param E = D // H
  param F = ffn_dim
  require F >= 1, "ffn_dim is at least 1"
  param V = vocab_size
  require V >= 1, "vocab_size is at least 1"
  param P = max_position_embeddings
  require P >= 1, "max_position_embeddings is at least 1"
  param eps = 1e-5
  param act = activation_function else "relu"
  param narrow = word_embed_proj_dim else D
  require narrow == D, "this family has no projection between embedding and layers"
  param first = do_layer_norm_before else 1
  require first == 1, "this family has its norms in front"
  param biases = enable_bias else 1
  require biases == 1, "this family has biases"
  param affine = layer_norm_elementwise_affine else 1
  require affine == 1, "norms of this family have gains"
  param tie = tie_word_embeddings else 1
  require tie == 1, "head and embedding of this family are one"
  ignore activation_dropout, dropout, layerdrop, prefix, _remove_final_layer_norm, init_std
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  weight places: w [P + 2, D] as "embed_positions"
  x = gather(table, ids)
  each x -> x {
    x = add_position(x, places) {past = past, offset = 2}
  }
  repeat L {
    h = norm(x) {W = D}
    q, k, v = qkv_biased(h)
    a = attend_plain(q, k, v)
    x = add(x, a)
    h = norm(x) {W = D}
    y = mlp_biased(h) {act = act}
    x = add(x, y)
  }
  h = norm(x) {W = D}
  logits = linear(h, table)
  output logits
}
