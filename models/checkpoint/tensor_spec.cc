// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/tensor_spec.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "models/checkpoint/deepseek_v4_tensors.h"
#include "models/checkpoint/spec_list.h"

namespace hadal::checkpoint {
namespace {

void AddGqa(SpecList& list, const config::ModelConfig& config, const std::string& prefix) {
  const config::AttentionConfig& attention = config.attention;
  const int64_t q_rows = attention.heads * attention.head_dim;
  const int64_t kv_rows = attention.kv_heads * attention.head_dim;
  list.Linear(absl::StrCat(prefix, "q_proj"), q_rows, config.hidden_size, attention.qkv_bias);
  list.Linear(absl::StrCat(prefix, "k_proj"), kv_rows, config.hidden_size, attention.qkv_bias);
  list.Linear(absl::StrCat(prefix, "v_proj"), kv_rows, config.hidden_size, attention.qkv_bias);
  list.Linear(absl::StrCat(prefix, "o_proj"), config.hidden_size, q_rows, attention.out_bias);
  if (attention.qk_norm) {
    list.Norm(absl::StrCat(prefix, "q_norm"), attention.head_dim);
    list.Norm(absl::StrCat(prefix, "k_norm"), attention.head_dim);
  }
}

void AddMla(SpecList& list, const config::ModelConfig& config, const std::string& prefix) {
  const config::MlaConfig& mla = *config.mla;
  const int64_t heads = config.attention.heads;
  if (mla.q_lora_rank == 0) {
    list.Linear(absl::StrCat(prefix, "q_proj"), heads * mla.qk_head_dim(), config.hidden_size, false);
  } else {
    list.Linear(absl::StrCat(prefix, "q_a_proj"), mla.q_lora_rank, config.hidden_size, mla.bias);
    list.Norm(absl::StrCat(prefix, "q_a_layernorm"), mla.q_lora_rank);
    list.Linear(absl::StrCat(prefix, "q_b_proj"), heads * mla.qk_head_dim(), mla.q_lora_rank, false);
  }
  list.Linear(absl::StrCat(prefix, "kv_a_proj_with_mqa"), mla.latent_dim(), config.hidden_size, mla.bias);
  list.Norm(absl::StrCat(prefix, "kv_a_layernorm"), mla.kv_lora_rank);
  list.Linear(absl::StrCat(prefix, "kv_b_proj"), heads * (mla.qk_nope_head_dim + mla.v_head_dim), mla.kv_lora_rank,
              false);
  list.Linear(absl::StrCat(prefix, "o_proj"), config.hidden_size, heads * mla.v_head_dim, mla.bias);
  if (!config.indexer) return;
  const config::IndexerConfig& indexer = *config.indexer;
  list.Linear(absl::StrCat(prefix, "indexer.wq_b"), indexer.heads * indexer.head_dim, mla.q_lora_rank, false);
  list.Linear(absl::StrCat(prefix, "indexer.wk"), indexer.head_dim, config.hidden_size, false);
  list.Norm(absl::StrCat(prefix, "indexer.k_norm"), indexer.head_dim);
  list.Add(absl::StrCat(prefix, "indexer.k_norm.bias"), {indexer.head_dim}, TensorRole::kBias);
  list.Linear(absl::StrCat(prefix, "indexer.weights_proj"), indexer.heads, config.hidden_size, false);
}

void AddMoe(SpecList& list, const config::ModelConfig& config, const std::string& prefix) {
  const config::MoeConfig& moe = *config.moe;
  list.Add(absl::StrCat(prefix, "gate.weight"), {moe.routed_experts, config.hidden_size}, TensorRole::kRouter);
  if (moe.correction_bias) {
    list.Add(absl::StrCat(prefix, "gate.e_score_correction_bias"), {moe.routed_experts}, TensorRole::kRouterBias);
  }
  for (int64_t expert = 0; expert < moe.routed_experts; ++expert) {
    list.Mlp(absl::StrCat(prefix, "experts.", expert), config.hidden_size, moe.intermediate_size, false);
  }
  if (moe.shared_experts > 0) {
    list.Mlp(absl::StrCat(prefix, "shared_experts"), config.hidden_size, moe.shared_intermediate_size(), false);
  }
}

}  // namespace

kernels::DType KeptDType(TensorRole role, kernels::DType compute_dtype) {
  if (role == TensorRole::kExpertTable) return kernels::DType::kI32;
  if (role == TensorRole::kRouterBias || role == TensorRole::kFloat32) return kernels::DType::kF32;
  return compute_dtype;
}

std::vector<TensorSpec> ExpectedTensors(const config::ModelConfig& config) {
  if (config.v4_attention) return DeepseekV4Tensors(config);
  std::vector<TensorSpec> specs;
  SpecList list(specs);
  list.Add("model.embed_tokens.weight", {config.vocab_size, config.hidden_size}, TensorRole::kEmbedding);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    list.Norm(absl::StrCat(prefix, "input_layernorm"), config.hidden_size);
    const std::string attention = absl::StrCat(prefix, "self_attn.");
    config.mla ? AddMla(list, config, attention) : AddGqa(list, config, attention);
    list.Norm(absl::StrCat(prefix, "post_attention_layernorm"), config.hidden_size);
    if (config.IsMoeLayer(layer)) {
      AddMoe(list, config, absl::StrCat(prefix, "mlp."));
    } else {
      list.Mlp(absl::StrCat(prefix, "mlp"), config.hidden_size, config.intermediate_size, config.mlp_bias);
    }
  }
  list.Norm("model.norm", config.hidden_size);
  if (!config.tie_word_embeddings) {
    list.Add("lm_head.weight", {config.vocab_size, config.hidden_size}, TensorRole::kEmbedding);
  }
  return specs;
}

bool IsIgnorableTensor(const config::ModelConfig& config, absl::string_view name) {
  if (absl::EndsWith(name, ".rotary_emb.inv_freq")) return true;
  if (config.v4_attention) return IsDeepseekV4MtpTensor(name);
  if (config.tie_word_embeddings && name == "lm_head.weight") return true;
  if (!absl::ConsumePrefix(&name, "model.layers.")) return false;
  const size_t dot = name.find('.');
  int64_t layer = 0;
  if (dot == name.npos || !absl::SimpleAtoi(name.substr(0, dot), &layer)) return false;
  return layer >= config.layers && layer < config.layers + config.mtp_layers;
}

}  // namespace hadal::checkpoint
