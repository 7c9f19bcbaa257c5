# MiniMax-M2: attention with norms over all heads of q and of k together, turned in part; experts by sigmoid with a
# correction, none shared. MiniMax-M3: norms per head, all gains learnt as their distance from 1, gates with limits,
# shared experts, dense first layers; and attention to the blocks of the cache that an indexer picks for each KV group.
# Modules that predict further tokens, and towers for images, are left out.

config minimax {
  read decoder
  read rotary
  read rms
  read experts
  param score = scoring_func else "sigmoid"
  require score == "sigmoid", "this family scores experts by sigmoid"
  param head_norms = use_qk_norm else 1
  require head_norms == 1, "this family has norms on q and k"
  param correction = use_routing_bias else 1
  require correction == 1, "this family corrects the scores of experts"
  reject attention_bias, sliding_window, attention_output_gate
  ignore use_mtp, mtp_transformer_layers, num_mtp_modules, num_nextn_predict_layers
}

model minimax_m2 for "MiniMaxM2ForCausalLM" {
  read minimax
  read swiglu
  param FM = F
  param norm_sort = qk_norm_type else "per_layer"
  require norm_sort == "per_layer", "this family has one norm over all heads"
  reject shared_intermediate_size
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  repeat L as l {
    param sort = attn_type_list[l] else 1
    require sort == 1, "a layer has full attention"
    weight g1: w [D]
    h = rmsnorm(x, g1) {eps = eps}
    q, k, v = qkv(h)
    weight gq: w [G, H // G, E]
    weight gk: w [G, E]
    q = rmsnorm_joint(q, gq) {width = H * E, eps = eps}
    k = rmsnorm_joint(k, gk) {width = G * E, eps = eps}
    a = attend(q, k, v) {window = inf}
    x = add(x, a)
    weight g2: w [D]
    weight wr: w [X, D] as "block_sparse_moe.gate"
    h = rmsnorm(x, g2) {eps = eps}
    r = linear(h, wr)
    p, id = route_sigmoid(r) {factor = 1}
    y = mixtral_experts(h, id, p)
    x = add(x, y)
  }
  logits = unembed(x, table)
  output logits
}

# q of one index head per KV group, and one k for all of them, of EI numbers
block index_qk(h) -> qi, ki {
  weight wiq: w [G, EI, D] as "self_attn.index_q_proj"
  weight wik: w [EI, D] as "self_attn.index_k_proj"
  qi = linear(h, wiq)
  ki = linear(h, wik)
  qi = offset_norm(qi) {W = EI}
  ki = offset_norm(ki) {W = EI}
}

# attention of one layer on projected q, k, v to the blocks that qi and ki pick
block attend_blocks(q, k, v, qi, ki) -> a {
  weight wo: w [D, G, H // G, E] as "self_attn.o_proj"
  each q, k, v, qi, ki -> o {
    state kc: kv [B, T, G, E]
    state vc: kv [B, T, G, E]
    state ic: kv [B, T, EI]
    qr = rotate(q)
    kr = rotate(k)
    qir = rotate(qi) {E = EI}
    kir = rotate(ki) {E = EI}
    kc = append(kc, kr) {past = past}
    vc = append(vc, v) {past = past}
    ic = append(ic, kir) {past = past}
    id = block_picker(qir, ic) {past = past, top = top, block = size}
    o = block_attention(qr, kc, vc, id) {past = past, block = size}
  }
  a = merge(o, wo)
}

# gated with limits, the weights given
block limited_of(h, w1, w3, w2) -> y {
  u = linear(h, w1)
  g = linear(h, w3)
  m = swiglu_limited(u, g) {alpha = alpha, limit = limit}
  y = linear(m, w2)
}

model minimax_m3 for "MiniMaxM3ForCausalLM", "MiniMaxM3SparseForConditionalGeneration" in text_config {
  read minimax
  param act = hidden_act else "swigluoai"
  require act == "swigluoai", "this family has limited gates only"
  param alpha = swiglu_alpha else 1.702
  param limit = swiglu_limit else 7
  require limit > 0, "swiglu_limit is positive"
  param norm_sort = qk_norm_type else "per_head"
  require norm_sort == "per_head", "this family has norms per head"
  param offset = use_gemma_norm else 1
  require offset == 1, "gains are learnt as their distance from 1"
  param F = dense_intermediate_size
  param FM = moe_intermediate_size else intermediate_size
  param FS = shared_intermediate_size else FM
  param shared = n_shared_experts else 1
  require shared == 1, "this family shares one expert"
  param factor = routed_scaling_factor else 1
  param sparse = sparse_attention_config.use_sparse_attention else 0
  if sparse == 1 {
    param EI = sparse_attention_config.sparse_index_dim
    require EI >= turned, "an index head has at least the elements that are turned"
    param top = sparse_attention_config.sparse_topk_blocks
    require top >= 1, "sparse_topk_blocks is at least 1"
    param size = sparse_attention_config.sparse_block_size
    require size >= 1, "sparse_block_size is at least 1"
    require sparse_attention_config.sparse_num_index_heads == G, "there is an index head per key-value head"
    param first = sparse_attention_config.sparse_init_block else 0
    require first == 0, "no block is picked for being first"
    require sparse_attention_config.sparse_local_block == 1, "the newest block is always picked, and no other"
    param sort = sparse_attention_config.sparse_score_type else "max"
    require sort == "max", "a block is as good as its best token"
  }
  ignore first_k_dense_replace, vision_config, img_token_compression_config, image_grid_pinpoints, image_seq_length
  ignore image_token_index, video_token_index, multimodal_projector_bias, num_reward_heads, process_image_mode
  ignore projector_hidden_act, projector_hidden_size, vision_feature_layer, vision_feature_select_strategy
  input ids: int [N] in V
  weight table: w [V, D] as "embed_tokens"
  x = gather(table, ids)
  repeat L as l {
    h = offset_norm(x) {W = D}
    q, k, v = qkv(h)
    q = offset_norm(q) {W = E}
    k = offset_norm(k) {W = E}
    if sparse == 1, sparse_attention_config.sparse_attention_freq[l] == 1 {
      require sparse_attention_config.sparse_disable_index_value[l] == 1, "the indexer has no values"
      qi, ki = index_qk(h)
      a = attend_blocks(q, k, v, qi, ki)
    } else {
      a = attend(q, k, v) {window = inf}
    }
    x = add(x, a)
    h = offset_norm(x) {W = D}
    if moe_layer_freq[l] == 1 {
      weight wr: w [X, D] as "block_sparse_moe.gate"
      weight e1: w [X, FM, D] as "block_sparse_moe.experts.w1"
      weight e3: w [X, FM, D] as "block_sparse_moe.experts.w3"
      weight e2: w [X, D, FM] as "block_sparse_moe.experts.w2"
      weight s1: w [FS, D] as "block_sparse_moe.shared_experts.gate_proj"
      weight s3: w [FS, D] as "block_sparse_moe.shared_experts.up_proj"
      weight s2: w [D, FS] as "block_sparse_moe.shared_experts.down_proj"
      r = linear(h, wr)
      p, id = route_sigmoid(r) {factor = factor}
      u = expert_linear(h, e1, id)
      g = expert_linear(h, e3, id)
      m = swiglu_limited(u, g) {alpha = alpha, limit = limit}
      y = expert_merge(m, e2, id, p)
      x = add(x, y)
      y = limited_of(h, s1, s3, s2)
      x = add(x, y)
    } else {
      weight w1: w [F, D] as "mlp.gate_proj"
      weight w3: w [F, D] as "mlp.up_proj"
      weight w2: w [D, F] as "mlp.down_proj"
      y = limited_of(h, w1, w3, w2)
      x = add(x, y)
    }
  }
  logits = offset_unembed(x, table)
  output logits
}
