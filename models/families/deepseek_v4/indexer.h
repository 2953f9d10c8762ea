// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/blocks/context.h"
#include "models/blocks/linear.h"
#include "models/blocks/rope_cache.h"
#include "models/families/deepseek_v4/compressor.h"

namespace hadal::models {

// Chooses the compressed entries that each query of a CSA layer attends to (arXiv:2606.19348, section 2.3.1), with a
// compressor and keys of its own. As in transformers, without the Hadamard transform and the FP4 rounding that the
// published code adds. Checkpoint names: `name`.wq_b, weights_proj, compressor.*. Immutable once loaded.
class V4Indexer {
 public:
  // `config` has an indexer.
  static absl::StatusOr<V4Indexer> Load(const LoadContext& context, const config::HybridAttentionConfig& config,
                                        const std::string& name, std::shared_ptr<const RopeCache> rope);

  // x [tokens, hidden], q_low [tokens, q_lora_rank] normalised, `target` for its own compressor -> selected i32
  // [tokens, SelectedEntries]: visible entries, -1 where there are fewer.
  absl::Status Forward(const ForwardContext& context, const kernels::TensorView& x, const kernels::TensorView& q_low,
                       const V4Compressor::Target& target, const kernels::TensorView& selected) const;

  // Entries that a query keeps: index_topk, or what the longest sequence has when that is less.
  static int64_t SelectedEntries(const config::HybridAttentionConfig& config, int64_t max_positions);

 private:
  config::IndexerConfig config_;
  int64_t ratio_ = 1;
  int64_t rotated_ = 0;
  kernels::DType dtype_ = kernels::DType::kBF16;
  Linear query_;
  Linear head_weights_;
  V4Compressor compressor_;
  std::shared_ptr<const RopeCache> rope_;
};

}  // namespace hadal::models
