// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>

#include "kernels/cuda/cutlass_grouped.h"
#include "kernels/cuda/launch.h"
#include "kernels/ops/gemm.h"
#include "kernels/ops/grouped_gemm.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels::cuda {

// Shape of a product as cuBLASLt sees it, apart from the addresses: what its choice of an algorithm depends on. Rows
// are the ops' rows; row strides (leading dimensions) and batch strides count elements; alignments are in bytes, 2^i <=
// 256.
struct GemmShape {
  DType in = DType::kF32;  // of x and w
  DType out = DType::kF32;
  bool has_bias = false;  // of type `out`
  bool accumulate = false;
  bool transposed_w = false;
  int64_t m = 0, n = 0, k = 0, batch = 1;
  int64_t x_row = 0, w_row = 0, out_row = 0;
  int64_t x_batch = 0, w_batch = 0, out_batch = 0;
  int32_t x_alignment = 0, w_alignment = 0, out_alignment = 0, bias_alignment = 0;

  auto operator<=>(const GemmShape&) const = default;
};

struct GemmPlan {
  GemmShape shape;
  const void* x = nullptr;
  const void* w = nullptr;
  const void* bias = nullptr;
  void* out = nullptr;
};

// Nothing when cuBLASLt cannot take the product: x and w of different types, an output type it does not pair with them,
// a bias of another type than the output or off 16 bytes, k = 0, rows that overlap. Then the generic kernel serves.
std::optional<GemmPlan> PlanGemm(const GemmParams& params);
std::optional<GemmPlan> PlanBatchedGemm(const BatchedGemmParams& params);

// A product as our own kernels take it.
GenericGemmLaunch ToLaunch(const GemmParams& params);
GenericGemmLaunch ToLaunch(const GroupedGemmParams& params);

// Nothing when CUTLASS's grouped product cannot take the call: types that differ or are not 16 bits wide, rows that do
// not start at multiples of 16 bytes, nothing to do.
std::optional<CutlassGroupedLaunch> PlanGroupedGemm(const GroupedGemmParams& params);

// Stands for this product with every number of rows, so that one algorithm serves them all: m is kInvariantRows, and
// the alignments of x and out are those of any row.
inline constexpr int64_t kInvariantRows = 128;
GemmShape ForAnyRows(const GemmShape& shape);

// The shape without what differs between calls on one weight: rows and alignments.
GemmShape OfWeight(const GemmShape& shape);
// For the log: "bf16 x bf16 -> f32, 7 x 512, k 16, batch 4, w transposed".
std::string ToString(const GemmShape& shape);

// Largest power of two up to 256 that divides the address and, in bytes, the strides that move it.
int32_t CommonAlignment(const void* data, DType dtype, int64_t batch_stride);

}  // namespace hadal::kernels::cuda
