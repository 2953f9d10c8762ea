// SPDX-License-Identifier: Apache-2.0
//
// Products with at most eight rows: single ones, one for each head, and one for each expert that has rows; with the
// activation of a SwiGLU or without.
#include "kernels/cuda/gemv.cuh"

namespace hadal::kernels::cuda {
namespace {

// Of number y among the products of a batch or, grouped, of the sorted rows: there the block of every kRows-th row of
// an expert computes that many. False: nothing to do, for all threads.
template <typename W, typename X, int kRows>
__device__ bool FindOperands(const GenericGemmLaunch& p, int64_t y, GemvOperands<W, X>& operands) {
  if (p.expert_start == nullptr) {
    operands.x = static_cast<const X*>(p.x.data) + y * p.x_batch;
    operands.w = static_cast<const W*>(p.w.data) + y * p.w_batch;
    operands.out = y * p.out_batch;
    operands.rows = static_cast<int>(p.m);
    return true;
  }
  if (y < p.expert_start[0] || y >= p.expert_start[p.experts]) return false;
  const int64_t expert = FindRange(p.expert_start, p.experts, y);
  const int64_t first = p.expert_start[expert], left = p.expert_start[expert + 1] - y;
  if ((y - first) % kRows != 0) return false;
  operands.x = static_cast<const X*>(p.x.data) + y * p.x_row;
  operands.w = reinterpret_cast<const W*>(p.weights[expert]);
  operands.out = y * p.out_row;
  operands.rows = left < kRows ? static_cast<int>(left) : kRows;
  return true;
}

// Blocks of columns in x, products in y.
template <typename W, typename X, int kRows>
__global__ void GemvKernel(GenericGemmLaunch p, int slices) {
  GemvOperands<W, X> operands;
  if (!FindOperands<W, X, kRows>(p, blockIdx.y, operands)) return;
  GemvBlock<W, X, kRows>(p, slices, operands, blockIdx.x);
}

template <typename W, typename X, int kRows>
__global__ void GemvSiluKernel(GenericGemmLaunch p, int slices, View activated, float limit) {
  GemvOperands<W, X> operands;
  if (!FindOperands<W, X, kRows>(p, blockIdx.y, operands)) return;
  GemvSiluBlock<W, X, kRows>(p, slices, operands, activated, blockIdx.y, limit, blockIdx.x);
}

int64_t Products(const GenericGemmLaunch& p) { return p.expert_start != nullptr ? p.m : p.batch; }

}  // namespace

int LaunchGemv(Stream stream, const GenericGemmLaunch& p, const GemvPlan& plan) {
  return WithGemvInstance(p, plan, [&](auto instance) {
    using Instance = decltype(instance);
    return Launch(stream, GemvKernel<typename Instance::Weight, typename Instance::Row, Instance::kRows>,
                  {GemvBlocks(p.n, plan.slices), Products(p)}, kGemvThreads, GemvSharedBytes(Instance::kRows), p,
                  plan.slices);
  });
}

int LaunchGemvSilu(Stream stream, const GenericGemmLaunch& p, const GemvPlan& plan, View activated, float limit) {
  const int64_t columns = kGemvWarps / plan.slices;  // of a block, of gate and of up
  const Grid grid((p.n / 2 + columns - 1) / columns, Products(p));
  return WithGemvInstance(p, plan, [&](auto instance) {
    using Instance = decltype(instance);
    return Launch(stream, GemvSiluKernel<typename Instance::Weight, typename Instance::Row, Instance::kRows>, grid,
                  kGemvThreads, GemvSharedBytes(Instance::kRows), p, plan.slices, activated, limit);
  });
}

}  // namespace hadal::kernels::cuda
