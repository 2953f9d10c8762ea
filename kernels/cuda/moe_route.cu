// SPDX-License-Identifier: Apache-2.0
//
// The choice of experts, alone and behind the router's product.
#include "kernels/cuda/gemv.cuh"
#include "kernels/cuda/moe_route.cuh"

namespace hadal::kernels::cuda {
namespace {

constexpr int kRouteWarps = 4;  // of a block, a token each

__global__ void MoeRouteKernel(MoeRouteLaunch p, int64_t warp_bytes) {
  const int64_t warp = threadIdx.x / kWarp, token = int64_t{blockIdx.x} * (blockDim.x / kWarp) + warp;
  if (token >= p.tokens) return;  // the same for a whole warp
  RouteToken(p, token, reinterpret_cast<float*>(SharedMemory() + warp * warp_bytes));
}

// The router's product by as many blocks as it takes; the one that ends last finds all logits and chooses, a warp for
// each token. So what it reads does not depend on which block that is. `ended` is 0 before and after.
template <typename W, typename X, int kRows>
__global__ void MoeGateKernel(GenericGemmLaunch gate, int slices, MoeRouteLaunch route, int64_t warp_bytes,
                              unsigned* ended) {
  const GemvOperands<W, X> operands{static_cast<const X*>(gate.x.data), static_cast<const W*>(gate.w.data), 0,
                                    static_cast<int>(gate.m)};
  GemvBlock<W, X, kRows>(gate, slices, operands, blockIdx.x);
  __threadfence();  // the logits are out before the block is counted
  __syncthreads();
  unsigned* is_last = reinterpret_cast<unsigned*>(SharedMemory());
  if (threadIdx.x == 0) *is_last = atomicAdd(ended, 1u) == gridDim.x - 1 ? 1 : 0;
  __syncthreads();
  const bool last = *is_last != 0;
  __syncthreads();
  if (!last) return;
  if (threadIdx.x == 0) *ended = 0;
  __threadfence();
  const int warp = ThreadIndex() / kWarp;
  if (warp < gate.m) RouteToken(route, warp, reinterpret_cast<float*>(SharedMemory() + warp * warp_bytes));
}

}  // namespace

int64_t MoeRouteSharedBytes(int64_t experts, int64_t groups, int64_t top_k) {
  return (3 * experts + groups + top_k) * int64_t{sizeof(float)};
}

int LaunchMoeRoute(Stream stream, const MoeRouteLaunch& p) {
  const int64_t bytes = MoeRouteSharedBytes(p.experts, p.n_group, p.top_k);
  const int warps = kRouteWarps * bytes <= kDefaultSharedBytes ? kRouteWarps : 1;
  return Launch(stream, MoeRouteKernel, (p.tokens + warps - 1) / warps, warps * kWarp, warps * bytes, p, bytes);
}

int64_t MoeGateSharedBytes(const MoeRouteLaunch& route) {
  const int64_t sums = GemvSharedBytes(kGemvWarps);
  const int64_t choices = kGemvWarps * MoeRouteSharedBytes(route.experts, route.n_group, route.top_k);
  return sums > choices ? sums : choices;
}

int LaunchMoeGate(Stream stream, const GenericGemmLaunch& gate, const GemvPlan& plan, const MoeRouteLaunch& route,
                  unsigned* ended) {
  const int64_t bytes = MoeRouteSharedBytes(route.experts, route.n_group, route.top_k);
  return WithGemvInstance(gate, plan, [&](auto instance) {
    using Instance = decltype(instance);
    return Launch(stream, MoeGateKernel<typename Instance::Weight, typename Instance::Row, Instance::kRows>,
                  GemvBlocks(gate.n, plan.slices), kGemvThreads, MoeGateSharedBytes(route), gate, plan.slices, route,
                  bytes, ended);
  });
}

}  // namespace hadal::kernels::cuda
