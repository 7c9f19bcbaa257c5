# Gemma 1, 2 and 3: GELU gates, gains learnt as their distance from 1, embeddings scaled by the root of the width. From 2
# on sliding and global layers, norms behind both halves of a layer; 2 caps scores, 3 has norms on each head of q and k
# and turns sliding layers by another base.

config gemma {
  read decoder
  read rms
  param F = intermediate_size
  require F >= 1, "intermediate_size is at least 1"
  param act = hidden_activation else hidden_act else "gelu_pytorch_tanh"
  require act == "gelu_pytorch_tanh" or act == "gelu", "this family has GELU gates only"
  ignore hidden_act
  param whole = rope_theta else rope_parameters.rope_theta else 10000
  param turned = E
  require E % 2 == 0, "head_dim is even, as rotary embeddings turn pairs"
  reject attention_bias
}

# attention of one layer on projected q, k, v; scores are capped where `cap` is finite
block gemma_attend(q, k, v, window, theta, factor, cap) -> a {
  weight wo: w [D, G, H // G, E] as "self_attn.o_proj"
  each q, k, v -> o {
    state kc: kv [B, T, G, E]
    state vc: kv [B, T, G, E]
    qr = rotate(q)
    kr = rotate(k)
    kc = append(kc, kr) {past = past}
    vc = append(vc, v) {past = past}
    if cap < inf {
      o = attention_capped(qr, kc, vc) {past = past, window = window, scale = factor, cap = cap}
    } else {
      o = attention(qr, kc, vc) {past = past, window = window, scale = factor}
    }
  }
  a = merge(o, wo)
}

# feed-forward layer with GELU gates
block geglu(h, F) -> y {
  weight w1: w [F, D] as "mlp.gate_proj"
  weight w3: w [F, D] as "mlp.up_proj"
  weight w2: w [D, F] as "mlp.down_proj"
  u = linear(h, w1)
  g = linear(h, w3)
  m = gelu_tanh_mul(u, g)
  y = linear(m, w2)
}

# last norm, scores by the embedding's own table, and their cap
block gemma_unembed(x, table, cap) -> logits {
  h = offset_norm(x) {W = D}
  logits = linear(h, table)
  if cap < inf {
    logits = softcap(logits) {cap = cap}
  }
}

model gemma for "GemmaForCausalLM" {
  read gemma
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  x = scale(x) {by = sqrt(D)}
  repeat L {
    h = offset_norm(x) {W = D}
    q, k, v = qkv(h)
    a = gemma_attend(q, k, v) {window = inf, theta = whole, factor = rsqrt(E), cap = inf}
    x = add(x, a)
    h = offset_norm(x) {W = D}
    y = geglu(h) {F = F}
    x = add(x, y)
  }
  logits = gemma_unembed(x, table) {cap = inf}
  output logits
}

model gemma2 for "Gemma2ForCausalLM" {
  read gemma
  param window = sliding_window else 4096
  require window >= 1, "sliding_window is at least 1"
  param scalar = query_pre_attn_scalar else E
  require scalar > 0, "query_pre_attn_scalar is positive"
  param cap = attn_logit_softcapping else inf
  param last_cap = final_logit_softcapping else inf
  ignore cache_implementation, sliding_window_size
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  x = scale(x) {by = sqrt(D)}
  repeat L as l {
    param reach = inf
    param sort = layer_types[l] else "by turns"
    if sort == "sliding_attention" or l % 2 == 0, sort != "full_attention" {
      param reach = window
    }
    h = offset_norm(x) {W = D}
    q, k, v = qkv(h)
    a = gemma_attend(q, k, v) {window = reach, theta = whole, factor = rsqrt(scalar), cap = cap}
    a = offset_norm(a) {W = D}
    x = add(x, a)
    h = offset_norm(x) {W = D}
    y = geglu(h) {F = F}
    y = offset_norm(y) {W = D}
    x = add(x, y)
  }
  logits = gemma_unembed(x, table) {cap = last_cap}
  output logits
}

model gemma3 for "Gemma3ForCausalLM", "Gemma3ForConditionalGeneration" in text_config {
  read gemma
  param window = sliding_window else 4096
  require window >= 1, "sliding_window is at least 1"
  param scalar = query_pre_attn_scalar else 256
  require scalar > 0, "query_pre_attn_scalar is positive"
  param local = rope_local_base_freq else 10000
  param every = sliding_window_pattern else _sliding_window_pattern else 6
  require every >= 1, "sliding_window_pattern is at least 1"
  reject attn_logit_softcapping, final_logit_softcapping, use_bidirectional_attention
  ignore cache_implementation, vision_config, image_token_index, boi_token_index, eoi_token_index, mm_tokens_per_image
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  x = scale(x) {by = sqrt(D)}
  repeat L as l {
    param reach = inf
    param base = whole
    param sort = layer_types[l] else "by turns"
    if sort == "sliding_attention" or (l + 1) % every > 0, sort != "full_attention" {
      param reach = window
      param base = local
    }
    h = offset_norm(x) {W = D}
    q, k, v = qkv(h)
    q = offset_norm(q) {W = E}
    k = offset_norm(k) {W = E}
    a = gemma_attend(q, k, v) {window = reach, theta = base, factor = rsqrt(scalar), cap = inf}
    a = offset_norm(a) {W = D}
    x = add(x, a)
    h = offset_norm(x) {W = D}
    y = geglu(h) {F = F}
    y = offset_norm(y) {W = D}
    x = add(x, y)
  }
  logits = gemma_unembed(x, table) {cap = inf}
  output logits
}
