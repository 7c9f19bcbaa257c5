# Qwen3: as Llama, with an RMS norm on each head of q and k.
model qwen3 for "Qwen3ForCausalLM" {
  param L = num_hidden_layers
  require L >= 1, "num_hidden_layers is at least 1"
  param D = hidden_size
  require D >= 1, "hidden_size is at least 1"
  param H = num_attention_heads
  require H >= 1, "num_attention_heads is at least 1"
  param G = num_key_value_heads else H
  require G >= 1, "num_key_value_heads is at least 1"
  require H % G == 0, "num_attention_heads is a multiple of num_key_value_heads"
  param E = head_dim else D // H
  require E >= 2, "head_dim is at least 2"
  require E % 2 == 0, "head_dim is even, as rotary embeddings turn pairs"
  param F = intermediate_size
  require F >= 1, "intermediate_size is at least 1"
  param V = vocab_size
  require V >= 1, "vocab_size is at least 1"
  param eps = rms_norm_eps else 1e-6
  require eps > 0, "rms_norm_eps is positive"
  param theta = rope_theta else 10000
  require theta > 0, "rope_theta is positive"
  param tie = tie_word_embeddings else 0
  param window = inf
  param slide = use_sliding_window else 0
  require slide == 0, "use_sliding_window mixes two kinds of layers, which this family cannot say"
  param qkv_bias = attention_bias else 0
  require qkv_bias == 0, "attention_bias adds vectors that this family does not have"
  reject quantization_config
  input ids: int [N] in V
  weight table: w [V, D]
  x = gather(table, ids)
  repeat L {
    weight g1: w [D]
    weight wq: w [G, H // G, E, D]
    weight wk: w [G, E, D]
    weight wv: w [G, E, D]
    h = rmsnorm(x, g1) {eps = eps}
    q = linear(h, wq)
    k = linear(h, wk)
    v = linear(h, wv)
    weight gq: w [E]
    weight gk: w [E]
    q = rmsnorm(q, gq) {eps = eps}
    k = rmsnorm(k, gk) {eps = eps}
    a = attend(q, k, v)
    x = add(x, a)
    x = feed_forward(x)
  }
  logits = unembed(x, table)
  output logits
}
