// SPDX-License-Identifier: Apache-2.0
//
// Window and compressed entries in one softmax with a sink: one block for each query row and head.
#include "kernels/cuda/device.cuh"

namespace hadal::kernels::cuda {
namespace {

constexpr int kKeysAtOnce = 128;  // threads of a block, and keys of a tile

// What a query sees, by number: first its window, then entries.
struct Visible {
  int64_t sequence, first_position, window, entries;
};

__device__ Visible VisibleTo(const HybridAttentionLaunch& p, int64_t row) {
  Visible v;
  v.sequence = FindRange(p.query_start, p.sequences, row);
  const int64_t seen = p.context_lens[v.sequence] - (p.query_start[v.sequence + 1] - row) + 1;
  v.window = seen < p.window_tokens ? seen : p.window_tokens;
  v.first_position = seen - v.window;
  v.entries = p.selected != nullptr    ? p.selected_count
              : p.tokens_per_entry > 0 ? Divide(seen, p.tokens_per_entry).quotient
                                       : 0;
  return v;
}

// Address of a key; null for an empty slot of the selection.
template <typename T>
__device__ const T* KeyOf(const HybridAttentionLaunch& p, const Visible& v, int64_t row, int64_t i) {
  if (i < v.window) {
    const Divided position = Divide(v.first_position + i, p.window.size[1]);
    const int64_t block = p.window_table[v.sequence * p.window_table_stride + position.quotient];
    return static_cast<const T*>(p.window.data) + block * p.window.stride[0] + position.remainder * p.window.stride[1];
  }
  int64_t entry = i - v.window;
  if (p.selected != nullptr) entry = p.selected[row * p.selected_count + entry];
  if (entry < 0) return nullptr;
  const Divided at = Divide(entry, p.entries.size[1]);
  const int64_t block = p.table[v.sequence * p.table_stride + at.quotient];
  return static_cast<const T*>(p.entries.data) + block * p.entries.stride[0] + at.remainder * p.entries.stride[1];
}

template <typename T>
__global__ void HybridAttentionKernel(HybridAttentionLaunch p) {
  // Shared: address of each key of the tile, query, sums, probabilities, scratch of the reductions.
  const T** address = reinterpret_cast<const T**>(SharedMemory());
  const int64_t dim = p.q.size[2];
  float* query = reinterpret_cast<float*>(address + kKeysAtOnce);
  float* sums = query + dim;
  float* probability = sums + dim;
  float* scratch = probability + kKeysAtOnce;

  const int tid = static_cast<int>(threadIdx.x);
  const Divided place = Divide(blockIdx.x, p.q.size[1]);
  const int64_t row = place.quotient, head = place.remainder;
  const Visible visible = VisibleTo(p, row);
  const int64_t keys = visible.window + visible.entries;
  for (int64_t d = tid; d < dim; d += kKeysAtOnce) {
    query[d] = LoadAt(p.q, row * p.q.stride[0] + head * p.q.stride[1] + d);
    sums[d] = 0;
  }
  __syncthreads();

  float largest = -INFINITY, total = 0;
  for (int64_t base = 0; base < keys; base += kKeysAtOnce) {
    const T* key = base + tid < keys ? KeyOf<T>(p, visible, row, base + tid) : nullptr;
    address[tid] = key;
    float score = -INFINITY;
    if (key != nullptr) {
      float sum = 0;
      for (int64_t d = 0; d < dim; ++d) sum += query[d] * ToF32(key[d]);
      score = sum * p.scale;
    }
    // The first tile holds the query's own row, so the maximum is a number from then on.
    const float new_largest = fmaxf(largest, BlockReduce(score, scratch, Larger()));
    const float weight = key != nullptr ? expf(score - new_largest) : 0.0f;
    probability[tid] = weight;
    const float weights = BlockReduce(weight, scratch, Add());  // its barriers also publish probability and address
    const float shrink = expf(largest - new_largest);
    const int64_t in_tile = keys - base < kKeysAtOnce ? keys - base : kKeysAtOnce;
    for (int64_t d = tid; d < dim; d += kKeysAtOnce) {
      float sum = sums[d] * shrink;
      for (int64_t i = 0; i < in_tile; ++i) {
        if (address[i] != nullptr) sum += probability[i] * ToF32(address[i][d]);
      }
      sums[d] = sum;
    }
    total = total * shrink + weights;
    largest = new_largest;
    __syncthreads();  // before the next tile overwrites probability and address
  }
  total += expf(p.sink[head] - largest);
  for (int64_t d = tid; d < dim; d += kKeysAtOnce) {
    StoreAt(p.out, row * p.out.stride[0] + head * p.out.stride[1] + d, sums[d] / total);
  }
}

}  // namespace

int64_t HybridAttentionSharedBytes(int64_t dim) {
  return kKeysAtOnce * int64_t{sizeof(void*)} + (2 * dim + 2 * kKeysAtOnce) * int64_t{sizeof(float)};
}

int LaunchHybridAttention(Stream stream, const HybridAttentionLaunch& p) {
  const int64_t blocks = p.q.size[0] * p.q.size[1], shared = HybridAttentionSharedBytes(p.q.size[2]);
  switch (p.window.dtype) {
    case DType::kBF16:
      return Launch(stream, HybridAttentionKernel<__nv_bfloat16>, blocks, kKeysAtOnce, shared, p);
    case DType::kF16:
      return Launch(stream, HybridAttentionKernel<__half>, blocks, kKeysAtOnce, shared, p);
    default:
      return Launch(stream, HybridAttentionKernel<float>, blocks, kKeysAtOnce, shared, p);
  }
}

}  // namespace hadal::kernels::cuda
