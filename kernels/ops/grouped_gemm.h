// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/tensor_view.h"
#include "kernels/weight_view.h"

namespace hadal::kernels {

// One gemm per expert over rows sorted by expert: out[r] = W_e * x[r] for expert_start[e] <= r < expert_start[e+1].
//
// The weights are given by address (GroupedWeightView); the address of an expert without rows is not followed. Rows
// outside [expert_start[0], expert_start[experts]) are left alone. Types, strides, rounding and tolerance as for gemm.
// A device may need addresses that are multiples of 16 when n, k and all row strides are multiples of 8; one that is
// not then fails the device (Internal). out must not overlap x.
struct GroupedGemmParams {
  TensorView x;             // [rows, k], row stride free
  TensorView expert_start;  // i32 [experts + 1], contiguous, rising, last <= rows (trusted: moe_permute made it)
  GroupedWeightView w;      // experts of [n, k]
  TensorView out;           // [rows, n], written, row stride free
};

absl::Status CheckGroupedGemm(const GroupedGemmParams& params);

}  // namespace hadal::kernels
