// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/deepseek_v4_tensors.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "models/checkpoint/spec_list.h"

namespace hadal::checkpoint {
namespace {

// Parts of a stage of multi-token prediction: the first word of what follows "mtp.STAGE.".
constexpr absl::string_view kMtpParts[] = {
    "attn",        "attn_norm", "confidence_head", "e_proj",       "embed",       "enorm",
    "ffn",         "ffn_norm",  "h_proj",          "hc_attn_base", "hc_attn_fn",  "hc_attn_scale",
    "hc_ffn_base", "hc_ffn_fn", "hc_ffn_scale",    "hc_head_base", "hc_head_fn",  "hc_head_scale",
    "head",        "hnorm",     "main_norm",       "main_proj",    "markov_head", "norm"};
constexpr int64_t kMaxMtpStages = 64;

// Pools `ratio` tokens into an entry of `width` values. Groups of sparse layers overlap: two values a channel.
void AddCompressor(SpecList& list, const config::ModelConfig& config, const std::string& prefix,
                   config::V4AttentionKind kind, int64_t width) {
  const config::V4AttentionConfig& attention = *config.v4_attention;
  const bool sparse = kind == config::V4AttentionKind::kSparse;
  const int64_t channels = sparse ? 2 * width : width;
  list.Add(absl::StrCat(prefix, "wkv.weight"), {channels, config.hidden_size}, TensorRole::kPlainMatrix);
  list.Add(absl::StrCat(prefix, "wgate.weight"), {channels, config.hidden_size}, TensorRole::kPlainMatrix);
  list.Add(absl::StrCat(prefix, "ape"), {sparse ? attention.sparse_ratio : attention.heavy_ratio, channels},
           TensorRole::kFloat32);
  list.Norm(absl::StrCat(prefix, "norm"), width);
}

void AddIndexer(SpecList& list, const config::ModelConfig& config, const std::string& prefix) {
  const config::IndexerConfig& indexer = *config.indexer;
  list.Linear(absl::StrCat(prefix, "wq_b"), indexer.heads * indexer.head_dim, config.v4_attention->q_lora_rank, false);
  list.Add(absl::StrCat(prefix, "weights_proj.weight"), {indexer.heads, config.hidden_size}, TensorRole::kPlainMatrix);
  AddCompressor(list, config, absl::StrCat(prefix, "compressor."), config::V4AttentionKind::kSparse, indexer.head_dim);
}

void AddAttention(SpecList& list, const config::ModelConfig& config, int64_t layer, const std::string& prefix) {
  const config::V4AttentionConfig& attention = *config.v4_attention;
  const int64_t heads = config.attention.heads;
  const int64_t group_width = heads / attention.o_groups * attention.head_dim;
  const config::V4AttentionKind kind = attention.layers[static_cast<size_t>(layer)];
  list.Linear(absl::StrCat(prefix, "wq_a"), attention.q_lora_rank, config.hidden_size, false);
  list.Norm(absl::StrCat(prefix, "q_norm"), attention.q_lora_rank);
  list.Linear(absl::StrCat(prefix, "wq_b"), heads * attention.head_dim, attention.q_lora_rank, false);
  list.Linear(absl::StrCat(prefix, "wkv"), attention.head_dim, config.hidden_size, false);
  list.Norm(absl::StrCat(prefix, "kv_norm"), attention.head_dim);
  list.Add(absl::StrCat(prefix, "attn_sink"), {heads}, TensorRole::kFloat32);
  list.Linear(absl::StrCat(prefix, "wo_a"), attention.o_groups * attention.o_lora_rank, group_width, false);
  list.Linear(absl::StrCat(prefix, "wo_b"), config.hidden_size, attention.o_groups * attention.o_lora_rank, false);
  if (kind == config::V4AttentionKind::kSliding) return;
  AddCompressor(list, config, absl::StrCat(prefix, "compressor."), kind, attention.head_dim);
  if (kind == config::V4AttentionKind::kSparse) AddIndexer(list, config, absl::StrCat(prefix, "indexer."));
}

void AddExpert(SpecList& list, const config::ModelConfig& config, const std::string& prefix, TensorRole role) {
  const int64_t width = config.moe->intermediate_size;
  list.Add(absl::StrCat(prefix, ".w1.weight"), {width, config.hidden_size}, role);
  list.Add(absl::StrCat(prefix, ".w2.weight"), {config.hidden_size, width}, role);
  list.Add(absl::StrCat(prefix, ".w3.weight"), {width, config.hidden_size}, role);
}

void AddFeedForward(SpecList& list, const config::ModelConfig& config, int64_t layer, int64_t experts,
                    const std::string& prefix) {
  const config::MoeConfig& moe = *config.moe;
  list.Add(absl::StrCat(prefix, "gate.weight"), {moe.routed_experts, config.hidden_size}, TensorRole::kRouter);
  if (config.IsHashLayer(layer)) {
    list.Add(absl::StrCat(prefix, "gate.tid2eid"), {config.vocab_size, moe.experts_per_token},
             TensorRole::kExpertTable);
  } else {
    list.Add(absl::StrCat(prefix, "gate.bias"), {moe.routed_experts}, TensorRole::kRouterBias);
  }
  for (int64_t expert = 0; expert < experts; ++expert) {
    AddExpert(list, config, absl::StrCat(prefix, "experts.", expert), TensorRole::kExpert);
  }
  AddExpert(list, config, absl::StrCat(prefix, "shared_experts"), TensorRole::kMatrix);
}

// The mixing of a sublayer's input and output with the streams: `rows` values from all streams of a token.
void AddMixing(SpecList& list, const config::ModelConfig& config, const std::string& prefix, int64_t rows,
               int64_t scales) {
  const int64_t streams = config.hyper_connections->streams;
  list.Add(absl::StrCat(prefix, "_fn"), {rows, streams * config.hidden_size}, TensorRole::kFloat32);
  list.Add(absl::StrCat(prefix, "_base"), {rows}, TensorRole::kFloat32);
  list.Add(absl::StrCat(prefix, "_scale"), {scales}, TensorRole::kFloat32);
}

// layers.N.*: attention, feed-forward part and hyper-connections, with the first `experts` routed experts.
std::vector<TensorSpec> LayerTensors(const config::ModelConfig& config, int64_t layer, int64_t experts) {
  std::vector<TensorSpec> specs;
  SpecList list(specs);
  const std::string prefix = absl::StrCat("layers.", layer, ".");
  const int64_t streams = config.hyper_connections->streams;
  list.Norm(absl::StrCat(prefix, "attn_norm"), config.hidden_size);
  AddAttention(list, config, layer, absl::StrCat(prefix, "attn."));
  list.Norm(absl::StrCat(prefix, "ffn_norm"), config.hidden_size);
  AddFeedForward(list, config, layer, experts, absl::StrCat(prefix, "ffn."));
  for (const char* part : {"hc_attn", "hc_ffn"}) {
    // In, out, and the matrix between the streams.
    AddMixing(list, config, absl::StrCat(prefix, part), (2 + streams) * streams, 3);
  }
  return specs;
}

// What is outside of the layers.
std::vector<TensorSpec> OuterTensors(const config::ModelConfig& config) {
  std::vector<TensorSpec> specs;
  SpecList list(specs);
  list.Add("embed.weight", {config.vocab_size, config.hidden_size}, TensorRole::kEmbedding);
  list.Norm("norm", config.hidden_size);
  AddMixing(list, config, "hc_head", config.hyper_connections->streams, 1);
  list.Add("head.weight", {config.vocab_size, config.hidden_size}, TensorRole::kEmbedding);
  return specs;
}

int64_t Elements(const TensorSpec& spec) {
  int64_t elements = 1;
  for (int64_t size : spec.shape) elements *= size;
  return elements;
}

// Calls visit(spec, copies) for all tensors, with one routed expert of each layer standing for all of them.
template <typename Visit>
void ForEachKind(const config::ModelConfig& config, Visit visit) {
  for (const TensorSpec& spec : OuterTensors(config)) visit(spec, 1);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (const TensorSpec& spec : LayerTensors(config, layer, 1)) {
      visit(spec, spec.role == TensorRole::kExpert ? config.moe->routed_experts : 1);
    }
  }
}

}  // namespace

std::vector<TensorSpec> DeepseekV4Tensors(const config::ModelConfig& config) {
  std::vector<TensorSpec> specs = OuterTensors(config);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    std::vector<TensorSpec> layer_specs = LayerTensors(config, layer, config.moe->routed_experts);
    std::move(layer_specs.begin(), layer_specs.end(), std::back_inserter(specs));
  }
  return specs;
}

DeepseekV4Totals CountDeepseekV4(const config::ModelConfig& config) {
  DeepseekV4Totals totals;
  ForEachKind(config, [&](const TensorSpec& spec, int64_t copies) {
    totals.parameters += Elements(spec) * copies;
    // Embedding rows and expert tables are looked up, ape is added.
    const bool multiplied = spec.shape.size() == 2 && spec.name != "embed.weight" &&
                            spec.role != TensorRole::kExpertTable && !absl::EndsWith(spec.name, ".ape");
    if (!multiplied) return;
    totals.active += Elements(spec) * (spec.role == TensorRole::kExpert ? config.moe->experts_per_token : 1);
  });
  return totals;
}

int64_t DeepseekV4MtpParameters(const config::ModelConfig& config) {
  config::ModelConfig block = config;  // a sliding layer with a correction bias
  block.v4_attention->layers = {config::V4AttentionKind::kSliding};
  block.moe->hash_layers = 0;
  int64_t parameters = 0;
  for (const TensorSpec& spec : LayerTensors(block, 0, 1)) {
    parameters += Elements(spec) * (spec.role == TensorRole::kExpert ? config.moe->routed_experts : 1);
  }
  // Its own norm and collapse of the streams; embedding and head are the model's.
  for (const TensorSpec& spec : OuterTensors(config)) {
    if (spec.role != TensorRole::kEmbedding) parameters += Elements(spec);
  }
  // enorm, hnorm, e_proj and h_proj.
  return parameters + 2 * config.hidden_size + 2 * config.hidden_size * config.hidden_size;
}

int64_t DeepseekV4WeightsBytes(const config::ModelConfig& config, kernels::DType compute_dtype) {
  int64_t bytes = 0;
  ForEachKind(config, [&](const TensorSpec& spec, int64_t copies) {
    bytes += Elements(spec) * copies * kernels::DTypeBytes(KeptDType(spec.role, compute_dtype));
  });
  return bytes;
}

bool IsDeepseekV4MtpTensor(absl::string_view name) {
  if (!absl::ConsumePrefix(&name, "mtp.")) return false;
  size_t dot = name.find('.');
  int64_t stage = 0;
  if (dot == name.npos || !absl::SimpleAtoi(name.substr(0, dot), &stage)) return false;
  if (stage < 0 || stage >= kMaxMtpStages) return false;
  name.remove_prefix(dot + 1);
  const absl::string_view part = name.substr(0, name.find('.'));
  return std::find(std::begin(kMtpParts), std::end(kMtpParts), part) != std::end(kMtpParts);
}

std::string DeepseekV4SavedName(absl::string_view name) {
  if (name == "head.weight") return std::string(name);
  if (name == "embed.weight") return "model.embed_tokens.weight";
  if (absl::ConsumePrefix(&name, "hc_head_")) return absl::StrCat("model.hc_head.hc_", name);
  if (absl::ConsumeSuffix(&name, ".attn.kv_norm.weight")) return absl::StrCat("model.", name, ".attn.norm.weight");
  return absl::StrCat("model.", name);
}

}  // namespace hadal::checkpoint
