// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// out[t] = table[ids[t]]. Also serves as a gather of rows (the last token of each sequence before lm_head).
//
// table and out are f32, bf16 or f16, each with its own type and row stride. An id outside [0, vocab) gives a row of
// zeros. out must not overlap table. Empty ids: no work.
// Tolerance: exact where the types agree; otherwise one rounding, exact too.
struct EmbeddingParams {
  TensorView ids;    // i32 [tokens]
  TensorView table;  // [vocab, hidden]
  TensorView out;    // [tokens, hidden], written
};

absl::Status CheckEmbedding(const EmbeddingParams& params);

}  // namespace hadal::kernels
