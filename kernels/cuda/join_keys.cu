// SPDX-License-Identifier: Apache-2.0
//
// Keys of expanded latent attention as one matrix a head: what each head has of its own, then the rope key that all of
// them share. FlashInfer's kernel for Hopper reads keys in one piece.
#include "kernels/cuda/device.cuh"

namespace hadal::kernels::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kHeadsAtOnce = kThreads / kWarp;

// A warp a token and head. Rows begin and end at multiples of sixteen bytes; elements take two.
__global__ void JoinKeysKernel(View nope, View rope, char* keys) {
  const int64_t token = blockIdx.x, head = int64_t{blockIdx.y} * kHeadsAtOnce + threadIdx.x / kWarp;
  const int64_t heads = nope.size[1];
  if (head >= heads) return;
  const int64_t nope_vectors = nope.size[2] * 2 / kVectorBytes,
                vectors = nope_vectors + rope.size[1] * 2 / kVectorBytes;
  const auto* own = reinterpret_cast<const uint4*>(static_cast<const char*>(nope.data) +
                                                   (token * nope.stride[0] + head * nope.stride[1]) * 2);
  const auto* shared = reinterpret_cast<const uint4*>(static_cast<const char*>(rope.data) + token * rope.stride[0] * 2);
  uint4* key = reinterpret_cast<uint4*>(keys) + (token * heads + head) * vectors;
  for (int64_t i = threadIdx.x % kWarp; i < vectors; i += kWarp) {
    key[i] = i < nope_vectors ? own[i] : shared[i - nope_vectors];
  }
}

}  // namespace

int LaunchJoinKeys(Stream stream, View nope, View rope, void* keys) {
  const Grid grid(nope.size[0], (nope.size[1] + kHeadsAtOnce - 1) / kHeadsAtOnce);
  return Launch(stream, JoinKeysKernel, grid, kThreads, 0, nope, rope, static_cast<char*>(keys));
}

}  // namespace hadal::kernels::cuda
