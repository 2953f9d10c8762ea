// SPDX-License-Identifier: Apache-2.0
//
// Hyper-connections: one block a token. The weights of the mixing are few and come from one thread.
#include "kernels/cuda/device.cuh"

namespace hadal::kernels::cuda {
namespace {

__device__ inline float Sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// c[i * step] for i < n, divided by their sum plus eps.
__device__ void Normalize(float* c, int64_t step, int64_t n, float eps) {
  float sum = eps;
  for (int64_t i = 0; i < n; ++i) sum += c[i * step];
  for (int64_t i = 0; i < n; ++i) c[i * step] /= sum;
}

__device__ void Softmax(float* row, int64_t n) {
  float largest = row[0], total = 0;
  for (int64_t k = 1; k < n; ++k) largest = row[k] > largest ? row[k] : largest;
  for (int64_t k = 0; k < n; ++k) total += row[k] = expf(row[k] - largest);
  for (int64_t k = 0; k < n; ++k) row[k] /= total;
}

// pre into shared memory; post and comb to their places.
__device__ void MixWeights(const HyperCollapseLaunch& p, int64_t token, float reciprocal_norm, float* pre) {
  const int64_t n = p.streams.size[1];
  const float* mixes = static_cast<const float*>(p.mixes.data) + token * p.mixes.stride[0];
  for (int64_t i = 0; i < n; ++i) pre[i] = Sigmoid(mixes[i] * reciprocal_norm * p.scale[0] + p.base[i]) + p.eps;
  if (p.post == nullptr) return;
  for (int64_t j = 0; j < n; ++j) {
    p.post[token * n + j] = 2.0f * Sigmoid(mixes[n + j] * reciprocal_norm * p.scale[1] + p.base[n + j]);
  }
  float* comb = p.comb + token * n * n;
  for (int64_t i = 0; i < n * n; ++i) comb[i] = mixes[2 * n + i] * reciprocal_norm * p.scale[2] + p.base[2 * n + i];
  for (int64_t j = 0; j < n; ++j) Softmax(comb + j * n, n);
  for (int64_t i = 0; i < n * n; ++i) comb[i] += p.eps;
  for (int64_t k = 0; k < n; ++k) Normalize(comb + k, n, n, p.eps);
  for (int64_t round = 1; round < p.sinkhorn_iterations; ++round) {
    for (int64_t j = 0; j < n; ++j) Normalize(comb + j * n, 1, n, p.eps);
    for (int64_t k = 0; k < n; ++k) Normalize(comb + k, n, n, p.eps);
  }
}

// Shared: scratch of the reduction, then pre.
__global__ void HyperCollapseKernel(HyperCollapseLaunch p) {
  float* scratch = reinterpret_cast<float*>(SharedMemory());
  float* pre = scratch + kThreads;
  const int64_t token = blockIdx.x, n = p.streams.size[1], hidden = p.streams.size[2];
  const int64_t start = token * p.streams.stride[0];
  float squares = 0;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t d = threadIdx.x; d < hidden; d += blockDim.x) {
      const float value = LoadAt(p.streams, start + i * p.streams.stride[1] + d);
      squares += value * value;
    }
  }
  squares = BlockReduce(squares, scratch, Add());
  if (threadIdx.x == 0) {
    MixWeights(p, token, 1.0f / sqrtf(squares / static_cast<float>(n * hidden) + p.norm_eps), pre);
  }
  __syncthreads();
  for (int64_t d = threadIdx.x; d < hidden; d += blockDim.x) {
    float sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += pre[i] * LoadAt(p.streams, start + i * p.streams.stride[1] + d);
    StoreAt(p.out, token * p.out.stride[0] + d, sum);
  }
}

// One thread a column of a token: it reads all streams there before it writes any.
__global__ void HyperExpandKernel(View streams, View x, const float* post, const float* comb) {
  const int64_t n = streams.size[1];
  const int64_t token = blockIdx.x, d = int64_t{blockIdx.y} * kThreads + threadIdx.x;
  if (d >= streams.size[2]) return;
  const int64_t start = token * streams.stride[0] + d;
  float before[kMaxStreams];
  for (int64_t i = 0; i < n; ++i) before[i] = LoadAt(streams, start + i * streams.stride[1]);
  const float value = LoadAt(x, token * x.stride[0] + d);
  for (int64_t j = 0; j < n; ++j) {
    float sum = post[token * n + j] * value;
    for (int64_t i = 0; i < n; ++i) sum += comb[(token * n + i) * n + j] * before[i];
    StoreAt(streams, start + j * streams.stride[1], sum);
  }
}

}  // namespace

int LaunchHyperCollapse(Stream stream, const HyperCollapseLaunch& p) {
  return Launch(stream, HyperCollapseKernel, p.streams.size[0], kThreads,
                (kThreads + kMaxStreams) * int64_t{sizeof(float)}, p);
}

int LaunchHyperExpand(Stream stream, View streams, View x, const float* post, const float* comb) {
  const Grid grid(streams.size[0], (streams.size[2] + kThreads - 1) / kThreads);
  return Launch(stream, HyperExpandKernel, grid, kThreads, 0, streams, x, post, comb);
}

}  // namespace hadal::kernels::cuda
