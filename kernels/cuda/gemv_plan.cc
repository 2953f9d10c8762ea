// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/gemv_plan.h"

#include <bit>
#include <initializer_list>

namespace hadal::kernels::cuda {
namespace {

constexpr int64_t kLoadBytes = 16;
constexpr int64_t kColumnsOfBlock = 16;          // without slices: eight warps of two columns
constexpr int64_t kBlocksPerMultiprocessor = 8;  // wanted, so that no multiprocessor waits long for the last one
constexpr int64_t kLeastSlice = 512;             // elements of k: two loads of a warp

bool HasInstance(DType x, DType w) { return x == w || (w == DType::kF32 && (x == DType::kBF16 || x == DType::kF16)); }

bool AlignedRows(const View& view, std::initializer_list<int64_t> strides) {
  int64_t bits = reinterpret_cast<intptr_t>(view.data);
  for (int64_t stride : strides) bits |= stride * DTypeBytes(view.dtype);
  return bits % kLoadBytes == 0;
}

// Rows that one block computes: the weights are read again for more.
int32_t RowsOfBlock(const GenericGemmLaunch& p) {
  if (p.expert_start == nullptr) return static_cast<int32_t>(std::bit_ceil(static_cast<uint64_t>(p.m)));
  // A token's rows are of different experts, so few rows share one.
  return p.m <= 8 ? 1 : p.m <= 16 ? 2 : 4;
}

}  // namespace

std::optional<GemvPlan> PlanGemv(const GenericGemmLaunch& p, int64_t multiprocessors) {
  const bool grouped = p.expert_start != nullptr;
  if (p.m < 1 || p.n < 1 || p.k < 1 || p.batch < 1 || p.batch > kMaxGridRows) return std::nullopt;
  if (p.m > (grouped ? kMaxGroupedGemvRows : kMaxGemvRows)) return std::nullopt;
  if (!HasInstance(p.x.dtype, p.w.dtype)) return std::nullopt;
  const bool one_row = p.m == 1, one = p.batch == 1;  // a stride that nobody takes has no meaning
  if (!AlignedRows(p.w, {(p.transposed_w ? p.k : p.n) == 1 ? 0 : p.w_row, one ? 0 : p.w_batch})) return std::nullopt;
  GemvPlan plan;
  plan.rows = RowsOfBlock(p);
  if (p.transposed_w) {  // one element of x at a time, and always all of a block's groups for the rows of w
    if (grouped || p.has_bias || p.accumulate) return std::nullopt;
    return plan;
  }
  if (!AlignedRows(p.x, {one_row ? 0 : p.x_row, one ? 0 : p.x_batch})) return std::nullopt;
  const int64_t products = grouped ? p.m : p.batch;
  const int64_t wanted = kBlocksPerMultiprocessor * multiprocessors;
  while (plan.slices < kMaxGemvSlices && p.k >= 2 * plan.slices * kLeastSlice &&
         (p.n * plan.slices + kColumnsOfBlock - 1) / kColumnsOfBlock * products < wanted) {
    plan.slices *= 2;
  }
  return plan;
}

}  // namespace hadal::kernels::cuda
