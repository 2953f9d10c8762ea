// SPDX-License-Identifier: Apache-2.0
#include "models/families/network_outline.h"

#include "models/blocks/meta_backend.h"
#include "models/status_macros.h"

namespace hadal::models {
namespace {

using checkpoint::CountParameters;
using checkpoint::ParameterTotals;
using checkpoint::RecordingLoader;
using checkpoint::TensorRole;
using checkpoint::TensorSpec;

absl::Status Record(const Family& family, const config::ModelConfig& config, RecordingLoader& loader) {
  MetaBackend backend;
  // Tables for positions are no parameters: one row will do.
  return family.load({config, loader, backend}, {.max_model_len = 1}).status();
}

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
  RecordingLoader loader(kernels::DType::kBF16);
  HADAL_RETURN_IF_ERROR(Record(family, config, loader));
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
                                                                       kernels::DType dtype) {
  std::shared_ptr<NetworkOutline> outline(new NetworkOutline(dtype));
  HADAL_RETURN_IF_ERROR(Record(family, config, outline->loader_));
  outline->totals_ = Count(config, outline->loader_);
  if (config.mtp_layers > 0) {
    HADAL_ASSIGN_OR_RETURN(const int64_t block, CountMtpBlock(family, config));
    outline->mtp_parameters_ = config.mtp_layers * block;
  }
  return outline;
}

}  // namespace hadal::models
