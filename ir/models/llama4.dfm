# Llama 4, text part. Three of four layers attend within chunks and turn q and k; the fourth sees all, turns nothing and
# sharpens its queries with the distance from the start. Where experts are, each token's one expert gets the token times
# a sigmoid of its score, and a shared expert works beside it. Turning pairs of neighbours instead of halves is a matter
# of the order of rows in the projections. Towers for images are left out.

# attention of one layer without positions in q and k
block attend_everywhere(q, k, v) -> a {
  weight wo: w [D, G, H // G, E] as "self_attn.o_proj"
  each q, k, v -> o {
    state kc: kv [B, T, G, E]
    state vc: kv [B, T, G, E]
    if tuned > 0 {
      q = temper(q) {past = past, every = every, by = by}
    }
    kc = append(kc, k) {past = past}
    vc = append(vc, v) {past = past}
    o = attention(q, kc, vc) {past = past}
  }
  a = merge(o, wo)
}

# attention of one layer within chunks, with norms without gains behind the rotation where `normed` says so
block attend_chunks(q, k, v) -> a {
  weight wo: w [D, G, H // G, E] as "self_attn.o_proj"
  each q, k, v -> o {
    state kc: kv [B, T, G, E]
    state vc: kv [B, T, G, E]
    qr = rotate(q)
    kr = rotate(k)
    if normed == 1 {
      qr = rmsnorm_plain(qr) {eps = eps}
      kr = rmsnorm_plain(kr) {eps = eps}
    }
    kc = append(kc, kr) {past = past}
    vc = append(vc, v) {past = past}
    o = attention_chunked(qr, kc, vc) {past = past, chunk = chunk}
  }
  a = merge(o, wo)
}

model llama4 for "Llama4ForCausalLM", "Llama4ForConditionalGeneration" in text_config {
  read decoder
  read rotary
  read rms
  read swiglu
  read experts
  param FM = F
  param FD = intermediate_size_mlp
  require FD >= 1, "intermediate_size_mlp is at least 1"
  param step = interleave_moe_layer_step else 1
  require step >= 1, "interleave_moe_layer_step is at least 1"
  param chunk = attention_chunk_size else 8192
  require chunk >= 1, "attention_chunk_size is at least 1"
  param interval = no_rope_layer_interval else 4
  require interval >= 1, "no_rope_layer_interval is at least 1"
  param normed = use_qk_norm else 1
  param tuned = attn_temperature_tuning else 1
  param every = floor_scale else 8192
  require every > 0, "floor_scale is positive"
  param by = attn_scale else 0.1
  reject attention_bias
  ignore router_jitter_noise, for_llm_compressor, layer_types
  ignore vision_config, boi_token_index, eoi_token_index, image_token_index
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  repeat L as l {
    weight g1: w [D]
    h = rmsnorm(x, g1) {eps = eps}
    q, k, v = qkv(h)
    param turns = no_rope_layers[l] else minimum((l + 1) % interval, 1)
    if turns > 0 {
      a = attend_chunks(q, k, v)
    } else {
      a = attend_everywhere(q, k, v)
    }
    x = add(x, a)
    weight g2: w [D]
    h = rmsnorm(x, g2) {eps = eps}
    param misses = 1 - count(moe_layers, l) else minimum((l + 1) % step, 1)
    if misses == 0 {
      weight wr: w [X, D] as "feed_forward.router"
      weight e1: w [X, FM, D] as "feed_forward.experts.gate_proj"
      weight e3: w [X, FM, D] as "feed_forward.experts.up_proj"
      weight e2: w [X, D, FM] as "feed_forward.experts.down_proj"
      weight s1: w [FM, D] as "feed_forward.shared_expert.gate_proj"
      weight s3: w [FM, D] as "feed_forward.shared_expert.up_proj"
      weight s2: w [D, FM] as "feed_forward.shared_expert.down_proj"
      r = linear(h, wr)
      p, id = pick(r) {top = J}
      p = sigmoid(p)
      hp = expert_scale(h, p)
      u = expert_each(hp, e1, id)
      g = expert_each(hp, e3, id)
      m = silu_mul(u, g)
      y = expert_total(m, e2, id)
      x = add(x, y)
      y = swiglu_of(h, s1, s3, s2)
      x = add(x, y)
    } else {
      weight w1: w [FD, D] as "feed_forward.gate_proj"
      weight w3: w [FD, D] as "feed_forward.up_proj"
      weight w2: w [D, FD] as "feed_forward.down_proj"
      y = swiglu_of(h, w1, w3, w2)
      x = add(x, y)
    }
  }
  logits = unembed(x, table)
  output logits
}
