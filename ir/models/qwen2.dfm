# Qwen 1.5, 2 and 2.5, and MiMo-7B: as Llama, with a bias on the projections to q, k and v. In layers from
# max_window_layers on the attention slides where the configuration says so. The layer of MiMo that predicts a further
# token is left out.
model qwen2 for "Qwen2ForCausalLM", "MiMoForCausalLM" {
  read decoder
  read rotary
  read rms
  read swiglu
  param slides = use_sliding_window else 0
  param biases = attention_bias else 1
  require biases == 1, "this family has biases on q, k and v"
  ignore sliding_window, max_window_layers, layer_types, use_mrope, num_nextn_predict_layers
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  repeat L as l {
    param window = inf
    if slides == 1, l >= max_window_layers {
      param window = sliding_window
      require window >= 1, "sliding_window is at least 1"
    }
    weight g1: w [D]
    weight bq: w [G, H // G, E]
    weight bk: w [G, E]
    weight bv: w [G, E]
    h = rmsnorm(x, g1) {eps = eps}
    q, k, v = qkv(h)
    q = bias_add(q, bq)
    k = bias_add(k, bk)
    v = bias_add(v, bv)
    a = attend(q, k, v) {window = window}
    x = add(x, a)
    x = feed_forward(x)
  }
  logits = unembed(x, table)
  output logits
}
