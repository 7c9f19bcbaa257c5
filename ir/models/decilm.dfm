# DeciLM (Llama-Nemotron): Llama whose layers were searched one by one. `block_configs` says of each whether it has
# attention, a feed-forward layer, or a plain matrix in place of one, how many heads share keys and values, and how wide
# the feed-forward layer is: a multiple of the model width, rounded up to a multiple of 256.
model decilm for "DeciLMForCausalLM" {
  read housekeeping
  param L = num_hidden_layers
  require L >= 1, "num_hidden_layers is at least 1"
  param D = hidden_size
  require D >= 1, "hidden_size is at least 1"
  param V = vocab_size
  require V >= 1, "vocab_size is at least 1"
  param H = num_attention_heads
  require H >= 1, "num_attention_heads is at least 1"
  param E = head_dim else D // H
  require E >= 2, "head_dim is at least 2"
  param tie = tie_word_embeddings else 0
  require len(block_configs) == L, "block_configs has an entry per layer"
  read rotary
  read rms
  param act = hidden_act else "silu"
  require act == "silu", "this family has SiLU gates only"
  reject attention_bias, mlp_bias
  ignore num_key_value_heads, intermediate_size
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  repeat L as l {
    # sinks that are shifted with the window change the places of tokens in a way that is not described
    reject block_configs[l].attention.num_sink_tokens, block_configs[l].attention.unshifted_sink
    reject block_configs[l].attention.use_prefill_window_in_sink_attention
    reject block_configs[l].attention.sparsify, block_configs[l].ffn.sparsify
    param no_attention = block_configs[l].attention.no_op else 0
    param plain_attention = block_configs[l].attention.replace_with_linear else 0
    param no_ffn = block_configs[l].ffn.no_op else 0
    param plain_ffn = block_configs[l].ffn.replace_with_linear else 0
    if no_attention == 0 {
      weight g1: w [D]
      h = rmsnorm(x, g1) {eps = eps}
      if plain_attention == 1 {
        weight wa: w [D, D] as "self_attn.linear_attn"
        a = linear(h, wa)
      } else {
        param shared = block_configs[l].attention.n_heads_in_group
        require H % shared == 0, "num_attention_heads is a multiple of n_heads_in_group"
        param G = H // shared
        param window = block_configs[l].attention.window_length else inf
        require window >= 1, "window_length is at least 1"
        q, k, v = qkv(h)
        a = attend(q, k, v) {window = window}
      }
      x = add(x, a)
    }
    if no_ffn == 0 {
      weight g2: w [D]
      h = rmsnorm(x, g2) {eps = eps}
      if plain_ffn == 1 {
        weight wf: w [D, D] as "mlp.linear_mlp"
        y = linear(h, wf)
      } else {
        param F = (2 * block_configs[l].ffn.ffn_mult * D // 3 + 255) // 256 * 256
        require F >= 1, "ffn_mult is positive"
        y = dense_mlp(h) {F = F}
      }
      x = add(x, y)
    }
  }
  logits = unembed(x, table)
  output logits
}
