# Qwen3 with experts, also the text part of Qwen3-VL: attention as in Qwen3; every `decoder_sparse_step`-th feed-forward
# layer that is not in `mlp_only_layers` is a mixture, weighed by a softmax over all experts.
model qwen3_moe for "Qwen3MoeForCausalLM", "Qwen3VLMoeForConditionalGeneration" in text_config {
  read decoder
  read rotary
  read rms
  read swiglu
  read experts
  param FM = moe_intermediate_size
  require FM >= 1, "moe_intermediate_size is at least 1"
  param step = decoder_sparse_step else 1
  require step >= 1, "decoder_sparse_step is at least 1"
  param normal = norm_topk_prob else 0
  param head_norms = use_qk_norm else 1
  require head_norms == 1, "this family has norms on the heads of q and k"
  reject use_sliding_window, attention_bias
  ignore max_window_layers, sliding_window
  ignore vision_config, image_token_id, video_token_id, vision_start_token_id, vision_end_token_id
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  repeat L as l {
    param dense = count(mlp_only_layers, l) else 0
    weight g1: w [D]
    h = rmsnorm(x, g1) {eps = eps}
    q, k, v = qkv(h)
    weight gq: w [E]
    weight gk: w [E]
    q = rmsnorm(q, gq) {eps = eps}
    k = rmsnorm(k, gk) {eps = eps}
    a = attend(q, k, v) {window = inf}
    x = add(x, a)
    if dense == 0, (l + 1) % step == 0 {
      weight g2: w [D]
      weight wr: w [X, D] as "mlp.gate"
      h = rmsnorm(x, g2) {eps = eps}
      r = linear(h, wr)
      p, id = route_softmax(r) {normal = normal}
      y = experts(h, id, p)
      x = add(x, y)
    } else {
      x = feed_forward(x)
    }
  }
  logits = unembed(x, table)
  output logits
}
