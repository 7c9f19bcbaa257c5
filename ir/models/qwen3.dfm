# Qwen3, also the text part of Qwen3-VL: as Llama, with an RMS norm on each head of q and k.
model qwen3 for "Qwen3ForCausalLM", "Qwen3VLForConditionalGeneration" in text_config {
  read decoder
  read rotary
  read rms
  read swiglu
  reject use_sliding_window, attention_bias
  ignore max_window_layers, layer_types, sliding_window
  ignore vision_config, image_token_id, video_token_id, vision_start_token_id, vision_end_token_id
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  repeat L as l {
    weight g1: w [D]
    weight gq: w [E]
    weight gk: w [E]
    h = rmsnorm(x, g1) {eps = eps}
    q, k, v = qkv(h)
    q = rmsnorm(q, gq) {eps = eps}
    k = rmsnorm(k, gk) {eps = eps}
    a = attend(q, k, v) {window = inf}
    x = add(x, a)
    x = feed_forward(x)
  }
  logits = unembed(x, table)
  output logits
}
