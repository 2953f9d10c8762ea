// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/blocks/context.h"

namespace hadal::models {

// A sublayer's connection to the residual streams, or the last collapse before the output norm (arXiv:2606.19348,
// section 2.2). Checkpoint names: `name`_fn, `name`_base, `name`_scale, all kept in float32. Immutable once loaded.
class HyperConnection {
 public:
  enum class Use { kSublayer, kLastCollapse };

  // How the sublayer's output goes back to the streams.
  struct Mix {
    kernels::TensorView post;  // f32 [tokens, streams]
    kernels::TensorView comb;  // f32 [tokens, streams, streams]
  };

  static absl::StatusOr<HyperConnection> Load(const LoadContext& context, const std::string& name, Use use);

  // streams [tokens, streams, hidden], contiguous -> out [tokens, hidden]. Fills `mix`, except for the last collapse,
  // which passes absent views.
  absl::Status Collapse(const ForwardContext& context, const kernels::TensorView& streams,
                        const kernels::TensorView& out, const Mix& mix) const;

 private:
  checkpoint::LoadedTensor fn_;     // [(2 + streams) * streams, streams * hidden]; the last collapse has `streams` rows
  checkpoint::LoadedTensor base_;   // [rows of fn]
  checkpoint::LoadedTensor scale_;  // [3]; the last collapse has one
  int64_t sinkhorn_iterations_ = 1;
  float eps_ = 0;
  float norm_eps_ = 0;
};

}  // namespace hadal::models
