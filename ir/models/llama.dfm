# Llama 1, 2, 3, Mistral and Phi-3: grouped-query attention, rotary positions, SwiGLU. N tokens in the step.
model llama for "LlamaForCausalLM", "MistralForCausalLM", "Phi3ForCausalLM" {
  read decoder
  read rotary
  read rms
  read swiglu
  param window = sliding_window else inf
  require window >= 1, "sliding_window is at least 1"
  reject attention_bias, mlp_bias
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  repeat L as l {
    weight g1: w [D]
    h = rmsnorm(x, g1) {eps = eps}
    q, k, v = qkv(h)
    a = attend(q, k, v) {window = window}
    x = add(x, a)
    x = feed_forward(x)
  }
  logits = unembed(x, table)
  output logits
}
