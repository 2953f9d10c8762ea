// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// Block-quantised FP8 weights to a compute type, on the host, at load (DeepSeek-V3, arXiv:2412.19437, section 3.3.2):
//   out[i, j] = round(float(q[i, j]) * scale[i / block, j / block])
// The checkpoint calls the scale `weight_scale_inv`; it is multiplied. Edges are ragged: the last block of each
// dimension may be short. Exact: one product in float32, one rounding. NaN codes stay NaN.
struct DequantFp8Params {
  TensorView q;      // f8_e4m3 [rows, columns], row stride free
  TensorView scale;  // f32 or e8m0 [ceil(rows / block), ceil(columns / block)], row stride free
  TensorView out;    // f32, bf16 or f16 [rows, columns], written, row stride free
  int64_t block = 128;
};

absl::Status CheckDequantFp8(const DequantFp8Params& params);

// All rows, or rows [begin_row, end_row) so that a loader can spread the work over its threads. Thread-safe for
// disjoint rows.
absl::Status DequantFp8(const DequantFp8Params& params);
absl::Status DequantFp8Rows(const DequantFp8Params& params, int64_t begin_row, int64_t end_row);

}  // namespace hadal::kernels
