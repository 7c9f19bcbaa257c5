# DeepSeek-V2, V3 (also R1, Kimi-K2), V3.2 and GLM-5: latent attention; the first layers are dense, the others mixtures
# of experts with shared experts beside them. V3.2 and GLM-5 look only at tokens that an indexer picks; in GLM-5.2
# some layers take the picks of the layer before. Heads for multi-token prediction are not part of a step.

config deepseek {
  read housekeeping
  param L = num_hidden_layers
  require L >= 1, "num_hidden_layers is at least 1"
  param D = hidden_size
  require D >= 1, "hidden_size is at least 1"
  param V = vocab_size
  require V >= 1, "vocab_size is at least 1"
  param H = num_attention_heads
  require H >= 1, "num_attention_heads is at least 1"
  read rms
  read swiglu
  read latent
  param tie = tie_word_embeddings else 0
  param K = first_k_dense_replace else 0
  require K >= 0, "first_k_dense_replace is not negative"
  require L >= K, "first_k_dense_replace is at most num_hidden_layers"
  param every = moe_layer_freq else 1
  require every == 1, "from first_k_dense_replace on, every layer of this family has experts"
  param FM = moe_intermediate_size
  require FM >= 1, "moe_intermediate_size is at least 1"
  param X = n_routed_experts
  param J = num_experts_per_tok
  require J >= 1, "num_experts_per_tok is at least 1"
  require X >= J, "num_experts_per_tok is at most n_routed_experts"
  param FS = FM * n_shared_experts else 0
  param method = topk_method else "noaux_tc"
  param groups = n_group else 1
  require X % groups == 0, "n_routed_experts is a multiple of n_group"
  param kept = topk_group else groups
  require groups >= kept, "topk_group is at most n_group"
  param normal = norm_topk_prob else 0
  param factor = routed_scaling_factor else 1
  ignore num_key_value_heads, num_nextn_predict_layers, aux_loss_alpha, seq_aux, moe_router_dtype, mlp_layer_types
  reject attention_bias
}

# sizes of the indexer
config picking {
  param HI = index_n_heads
  require HI >= 1, "index_n_heads is at least 1"
  param EI = index_head_dim
  require EI >= ER, "index_head_dim is at least qk_rope_head_dim"
  param KI = index_topk
  require KI >= 1, "index_topk is at least 1"
  require QR >= 1, "an indexer wants the queries' latent rows, q_lora_rank"
  param experts = num_experts else X
  require experts == X, "num_experts and n_routed_experts are the same number"
  ignore indexer_rope_interleave, index_share_for_mtp_iteration, index_skip_topk_offset, index_topk_freq
  reject index_topk_pattern
}

# weights p and ids of the experts of each token
block deepseek_router(h) -> p, id {
  weight wr: w [X, D] as "mlp.gate"
  r = linear(h, wr)
  if method == "noaux_tc" {
    param scoring = scoring_func else "sigmoid"
    require scoring == "sigmoid", "a corrected choice is made among sigmoids"
    weight correction: w [X]
    s = sigmoid(r)
    if groups > 1 {
      p, id = pick_grouped(s, correction) {top = J, groups = groups, kept = kept}
    } else {
      p, id = pick_biased(s, correction) {top = J}
    }
  } else {
    param scoring = scoring_func else "softmax"
    require scoring == "softmax", "an uncorrected choice is made among softmax scores"
    s = softmax(r)
    if method == "group_limited_greedy" {
      p, id = pick_grouped_max(s) {top = J, groups = groups, kept = kept}
    } else {
      require method == "greedy", "this topk_method is not known"
      p, id = pick(s) {top = J}
    }
  }
  if normal > 0 {
    p = normalise(p) {scale = factor}
  } else {
    p = scale(p) {by = factor}
  }
}

# experts, and those that all tokens share
block deepseek_experts(h) -> y {
  p, id = deepseek_router(h)
  y = experts(h, id, p)
  if FS > 0 {
    weight s1: w [FS, D] as "mlp.shared_experts.gate_proj"
    weight s3: w [FS, D] as "mlp.shared_experts.up_proj"
    weight s2: w [D, FS] as "mlp.shared_experts.down_proj"
    u = linear(h, s1)
    g = linear(h, s3)
    m = silu_mul(u, g)
    z = linear(m, s2)
    y = add(y, z)
  }
}

# the second half of layer l
block deepseek_mlp(x, l) -> x {
  weight g2: w [D]
  h = rmsnorm(x, g2) {eps = eps}
  if l >= K {
    y = deepseek_experts(h)
  } else {
    y = dense_mlp(h) {F = F}
  }
  x = add(x, y)
}

model deepseek for "DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "KimiK25ForConditionalGeneration" in text_config {
  read deepseek
  ignore vision_config, media_placeholder_token_id, ignore_index, video_placeholder, use_unified_vision_chunk
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  repeat L as l {
    weight g1: w [D]
    h = rmsnorm(x, g1) {eps = eps}
    if QR > 0 {
      cq = query_latent(h)
      qn, qr = latent_queries(cq) {W = QR}
    } else {
      qn, qr = latent_queries(h) {W = D}
    }
    c, kr = latent_rows(h)
    a = latent_attention(qn, qr, c, kr)
    x = add(x, a)
    x = deepseek_mlp(x) {l = l}
  }
  logits = unembed(x, table)
  output logits
}

model deepseek_sparse for "DeepseekV32ForCausalLM", "GlmMoeDsaForCausalLM" {
  read deepseek
  read picking
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  each x -> picks {
    picks = no_picks(x) {top = minimum(KI, T), total = T}
  }
  repeat L as l {
    weight g1: w [D]
    h = rmsnorm(x, g1) {eps = eps}
    cq = query_latent(h)
    qn, qr = latent_queries(cq) {W = QR}
    c, kr = latent_rows(h)
    param kind = layer_types[l] else "deepseek_sparse_attention"
    require kind == "deepseek_sparse_attention", "all layers of this family pick what they look at"
    param own = indexer_types[l] else "full"
    if own == "full" {
      picks = index_picks(h, cq)
    } else {
      require own == "shared", "an indexer is full or shared"
      require l > 0, "the first layer has no picks to share"
    }
    a = picked_latent_attention(qn, qr, c, kr, picks)
    x = add(x, a)
    x = deepseek_mlp(x) {l = l}
  }
  logits = unembed(x, table)
  output logits
}
