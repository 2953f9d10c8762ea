// SPDX-License-Identifier: Apache-2.0
#include "models/families/network_outline.h"

#include "absl/strings/str_cat.h"
#include "models/blocks/arena.h"
#include "models/status_macros.h"

namespace hadal::models {
namespace {

using checkpoint::CountParameters;
using checkpoint::ParameterTotals;
using checkpoint::RecordingLoader;
using checkpoint::TensorRole;
using checkpoint::TensorSpec;
using kernels::DType;
using kernels::TensorView;

constexpr int64_t kBlockTokens = 64;
constexpr int64_t kMaxMeasuredTokens = int64_t{1} << 29;  // lengths of contexts are i32
constexpr int64_t kUnboundedBytes = int64_t{1} << 60;

ParameterTotals Count(const config::ModelConfig& config, const RecordingLoader& loader) {
  if (!config.moe.has_value()) return CountParameters(loader.specs(), loader.compute_dtype(), 1, 1);
  return CountParameters(loader.specs(), loader.compute_dtype(), config.moe->experts_per_token,
                         config.moe->routed_experts);
}

// A block for multi-token prediction is a model of one layer of the last kind with two more norms and the product that
// joins the hidden state with the next token's embedding.
absl::StatusOr<int64_t> CountMtpBlock(const Family& family, config::ModelConfig config) {
  config.layers = 1;
  config.tie_word_embeddings = false;
  if (config.moe.has_value()) config.moe->first_dense_layers = config.moe->hash_layers = 0;
  if (family.make_mtp_block != nullptr) family.make_mtp_block(config);
  RecordingLoader loader(DType::kBF16);
  MetaBackend backend;
  HADAL_RETURN_IF_ERROR(family.load({config, loader, backend}, {.max_model_len = 1}).status());
  int64_t parameters = 2 * config.hidden_size + 2 * config.hidden_size * config.hidden_size;
  for (const TensorSpec& spec : loader.specs()) {
    const bool embedding = spec.role == TensorRole::kEmbedding || spec.role == TensorRole::kOutputHead;
    if (family.mtp_has_embedding || !embedding) parameters += spec.elements();
  }
  return parameters;
}

}  // namespace

absl::StatusOr<std::shared_ptr<NetworkOutline>> NetworkOutline::Create(const Family& family,
                                                                       const config::ModelConfig& config,
                                                                       kernels::DType dtype, int64_t max_model_len,
                                                                       std::optional<LayerRange> part) {
  if (part.has_value() && (part->begin < 0 || part->size() < 1 || part->end > config.layers)) {
    return absl::InvalidArgumentError(absl::StrCat("layers [", part->begin, ", ", part->end,
                                                   "): expected at least one of the model's ", config.layers));
  }
  if (max_model_len == 0) max_model_len = config.max_position_embeddings;
  std::shared_ptr<NetworkOutline> outline(new NetworkOutline(dtype));
  HADAL_ASSIGN_OR_RETURN(outline->network_, family.load({config, outline->loader_, outline->backend_, part},
                                                        {.max_model_len = max_model_len}));
  const KvLayout& layout = outline->network_->kv_layout();
  outline->block_tokens_ = layout.round_block_tokens(kBlockTokens);
  HADAL_RETURN_IF_ERROR(
      outline->network_->AllocateKvCache({.blocks = 1,
                                          .block_tokens = static_cast<int32_t>(outline->block_tokens_),
                                          .window_blocks = layout.window_tokens > 0 ? 1 : 0}));
  HADAL_RETURN_IF_ERROR(outline->Measure(1).status());
  outline->totals_ = Count(config, outline->loader_);
  if (config.mtp_layers > 0 && (!part.has_value() || part->end == config.layers)) {
    HADAL_ASSIGN_OR_RETURN(const int64_t block, CountMtpBlock(family, config));
    outline->mtp_parameters_ = config.mtp_layers * block;
  }
  return outline;
}

absl::StatusOr<int64_t> NetworkOutline::Measure(int64_t tokens) {
  const std::vector<int32_t> query_start = {0, static_cast<int32_t>(tokens)};
  const std::vector<int32_t> context_lens = {static_cast<int32_t>(tokens)};
  HADAL_ASSIGN_OR_RETURN(const kernels::Buffer arrays, backend_.Allocate(1));
  const auto array = [&](DType dtype, std::initializer_list<int64_t> shape) {
    return TensorView(arrays.data(), dtype, shape);
  };
  StepBatch batch;
  batch.token_ids = array(DType::kI32, {tokens});
  batch.positions = array(DType::kI32, {tokens});
  batch.slot_mapping = array(DType::kI64, {tokens});
  batch.ragged = {.query_start = array(DType::kI32, {2}),
                  .context_lens = array(DType::kI32, {1}),
                  .block_tables = array(DType::kI32, {1, tokens / block_tokens_ + 1}),
                  .host_query_start = query_start,
                  .host_context_lens = context_lens};
  Arena arena(&backend_);
  HADAL_RETURN_IF_ERROR(arena.Reserve(kUnboundedBytes));
  const PartEdges edges = network_->edges();
  const auto run = [&]() -> absl::Status {
    const Arena::Scope scope(arena);
    TensorView state;
    if (edges.takes_state) {
      HADAL_ASSIGN_OR_RETURN(state, arena.Take(edges.state_dtype, {tokens, edges.state_width}));
    }
    return network_->Forward({backend_, arena, batch, state}).status();
  };
  StepPlanner* planner = network_->step_planner();
  HADAL_RETURN_IF_ERROR(planner == nullptr ? run() : planner->VisitWorstSteps(batch, run));
  return arena.peak_bytes();
}

int64_t NetworkOutline::WorkspaceBytes(int64_t tokens) {
  // Create has measured a step, so shapes agree.
  if (tokens <= kMaxMeasuredTokens) return Measure(tokens).value();
  return Measure(kMaxMeasuredTokens).value() * (tokens / kMaxMeasuredTokens + 1);
}

}  // namespace hadal::models
