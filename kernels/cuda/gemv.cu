// SPDX-License-Identifier: Apache-2.0
//
// Products with at most eight rows: single ones, one for each head, and one for each expert that has rows.
#include "kernels/cuda/gemv.cuh"

namespace hadal::kernels::cuda {
namespace {

// Blocks of columns in x; in y products of a batch or, grouped, sorted rows: there the block of every kRows-th row of
// an expert computes that many.
template <typename W, typename X, int kRows>
__global__ void GemvKernel(GenericGemmLaunch p, int slices) {
  GemvOperands<W, X> operands;
  const int64_t y = blockIdx.y;
  if (p.expert_start != nullptr) {
    const int64_t expert = FindRange(p.expert_start, p.experts, y);
    const int64_t first = p.expert_start[expert], left = p.expert_start[expert + 1] - y;
    if ((y - first) % kRows != 0) return;  // the same for all threads
    operands.x = static_cast<const X*>(p.x.data) + y * p.x_row;
    operands.w = reinterpret_cast<const W*>(p.weights[expert]);
    operands.out = y * p.out_row;
    operands.rows = left < kRows ? static_cast<int>(left) : kRows;
  } else {
    operands.x = static_cast<const X*>(p.x.data) + y * p.x_batch;
    operands.w = static_cast<const W*>(p.w.data) + y * p.w_batch;
    operands.out = y * p.out_batch;
    operands.rows = static_cast<int>(p.m);
  }
  GemvBlock<W, X, kRows>(p, slices, operands, blockIdx.x);
}

template <typename W, typename X, int kRows>
int Run(Stream stream, const GenericGemmLaunch& p, int slices) {
  const Grid grid(GemvBlocks(p.n, slices), p.expert_start != nullptr ? p.m : p.batch);
  return Launch(stream, GemvKernel<W, X, kRows>, grid, kGemvThreads, GemvSharedBytes(kRows), p, slices);
}

template <typename W, typename X>
int RunRows(Stream stream, const GenericGemmLaunch& p, const GemvPlan& plan) {
  switch (plan.rows) {
    case 1:
      return Run<W, X, 1>(stream, p, plan.slices);
    case 2:
      return Run<W, X, 2>(stream, p, plan.slices);
    case 4:
      return Run<W, X, 4>(stream, p, plan.slices);
    default:
      return Run<W, X, 8>(stream, p, plan.slices);
  }
}

}  // namespace

int LaunchGemv(Stream stream, const GenericGemmLaunch& p, const GemvPlan& plan) {
  if (p.w.dtype == DType::kF32) {
    if (p.x.dtype == DType::kBF16) return RunRows<float, __nv_bfloat16>(stream, p, plan);
    if (p.x.dtype == DType::kF16) return RunRows<float, __half>(stream, p, plan);
    return RunRows<float, float>(stream, p, plan);
  }
  if (p.w.dtype == DType::kBF16) return RunRows<__nv_bfloat16, __nv_bfloat16>(stream, p, plan);
  return RunRows<__half, __half>(stream, p, plan);
}

}  // namespace hadal::kernels::cuda
