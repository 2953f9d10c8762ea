// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// Sets the input ids of a step that the step before has sampled: an id below 0, -1 - r, becomes sampled[r], or 0 where
// that is below 0 (a row with a fault) or there is no such row. Other ids stay. Exact.
struct FeedTokensParams {
  TensorView ids;      // i32 [tokens], contiguous, read and written
  TensorView sampled;  // i32 [rows], contiguous: SampleParams::out_tokens
};

absl::Status CheckFeedTokens(const FeedTokensParams& params);

}  // namespace hadal::kernels
