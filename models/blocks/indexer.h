// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/blocks/kv_cache.h"
#include "models/blocks/linear.h"
#include "models/blocks/mla_plan.h"
#include "models/blocks/norm.h"
#include "models/blocks/rope_cache.h"

namespace hadal::models {

// The lightning indexer of DeepSeek-V3.2 (arXiv:2512.02556, section 2.1): a small attention
// without values whose scores say which positions the layer's latent attention looks at. Queries come from the
// normalised q latent, keys from the layer's input; the first qk_rope_head_dim values of both are rotated half-split,
// unlike the main attention. The published Hadamard transform and FP8 rounding of both are left out, as in the
// transformers class, and so are factors common to all heads, which cannot change the choice.
//
// Checkpoint names: `name`.{wq_b, wk, k_norm, weights_proj}. Immutable once loaded; borrows the cache.
class Indexer {
 public:
  // `mla` has an indexer.
  static absl::StatusOr<std::unique_ptr<Indexer>> Load(const LoadContext& context, const config::MlaConfig& mla,
                                                       const std::string& name, int64_t layer,
                                                       std::shared_ptr<const RopeCache> rope, const PagedCache* keys);

  int64_t top_k() const { return config_.top_k; }

  // Writes the keys of the step's tokens into the cache. x [tokens, hidden]. Needed for every token, also of sequences
  // that are too short for a choice.
  absl::Status AppendKeys(const ForwardContext& context, const kernels::TensorView& x) const;

  // The positions that the queries of a run attend to. x [run tokens, hidden], q_latent [run tokens, q_lora_rank];
  // selected i32 [run tokens, top_k], as index_top_k lists them.
  absl::Status Select(const ForwardContext& context, const MlaRun& run, const kernels::TensorView& x,
                      const kernels::TensorView& q_latent, const kernels::TensorView& selected) const;

 private:
  explicit Indexer(const config::IndexerConfig& config) : config_(config) {}

  config::IndexerConfig config_;
  int64_t layer_ = 0;
  kernels::DType dtype_ = kernels::DType::kBF16;
  Linear query_;
  Linear key_;
  LayerNorm key_norm_;
  Linear weights_;
  std::shared_ptr<const RopeCache> rope_;
  const PagedCache* keys_ = nullptr;
};

}  // namespace hadal::models
