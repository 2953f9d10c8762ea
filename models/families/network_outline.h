// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "models/blocks/meta_backend.h"
#include "models/checkpoint/recording_loader.h"
#include "models/families/family.h"

namespace hadal::models {

// What a family makes of a configuration, known without a checkpoint or a device: its own Load, run with a recording
// loader, and its Forward, both on a backend without memory. Owns a network without values, a few MB at most.
// Thread-compatible.
class NetworkOutline {
 public:
  // `max_model_len`: tokens; 0: the configuration's. `part`: the layers that are taken; absent: all. InvalidArgument
  // for a configuration that the family does not offer or that makes more than 2^50 parameters, and for a part without
  // a layer or with one that the model has not.
  static absl::StatusOr<std::shared_ptr<NetworkOutline>> Create(const Family& family, const config::ModelConfig& config,
                                                                kernels::DType dtype, int64_t max_model_len = 0,
                                                                std::optional<LayerRange> part = std::nullopt);

  PartEdges edges() const { return network_->edges(); }

  // Every tensor that Load takes, under the names of the checkpoint, in the order of loading.
  const std::vector<checkpoint::TensorSpec>& tensors() const { return loader_.specs(); }
  // Of the main model; tied embeddings once; without layers for multi-token prediction.
  const checkpoint::ParameterTotals& totals() const { return totals_; }
  // In the layers for multi-token prediction that num_nextn_predict_layers announces, with their copies of embedding
  // and head where the family has them.
  int64_t mtp_parameters() const { return mtp_parameters_; }

  // The caches that the network allocates.
  const KvLayout& kv_layout() const { return network_->kv_layout(); }
  // Bytes that the network keeps besides its parameters and caches.
  int64_t table_bytes() const { return loader_.table_bytes(); }

  // Upper bound of arena bytes of a forward pass over that many tokens: what the worst steps of that size take. Never
  // shrinks with more tokens.
  int64_t WorkspaceBytes(int64_t tokens);

 private:
  explicit NetworkOutline(kernels::DType dtype) : loader_(dtype) {}
  absl::StatusOr<int64_t> Measure(int64_t tokens);

  MetaBackend backend_;
  checkpoint::RecordingLoader loader_;
  checkpoint::ParameterTotals totals_;
  int64_t mtp_parameters_ = 0;
  std::unique_ptr<Network> network_;
  int64_t block_tokens_ = 0;
};

}  // namespace hadal::models
