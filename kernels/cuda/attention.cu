// SPDX-License-Identifier: Apache-2.0
//
// Attention for every shape of the contracts: online softmax in float32, one block for each query row and head.
#include "kernels/cuda/device.cuh"

namespace hadal::kernels::cuda {
namespace {

constexpr int kKeysAtOnce = 128;  // threads of a block, and keys of a tile

// Positions of a list that ends with -1s.
__device__ int64_t ListedKeys(const int32_t* selected, int64_t columns) {
  int64_t low = 0, high = columns;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (selected[middle] >= 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

template <typename T>
__global__ void AttentionKernel(AttentionLaunch p) {
  // Shared: value offset of each key of the tile, query, sums, probabilities, scratch of the reductions.
  int64_t* value_offset = reinterpret_cast<int64_t*>(SharedMemory());
  float* query = reinterpret_cast<float*>(value_offset + kKeysAtOnce);
  float* sums = query + p.a_dim + p.b_dim;
  float* probability = sums + p.v_dim;
  float* scratch = probability + kKeysAtOnce;

  const int tid = static_cast<int>(threadIdx.x);
  const Divided place = Divide(blockIdx.x, p.heads);
  const int64_t row = p.first_row + place.quotient;
  const int64_t head = place.remainder, kv_head = Divide(head, p.group).quotient;
  const int64_t sequence = FindRange(p.query_start, p.sequences, row);
  const int32_t* selected = p.selected != nullptr ? p.selected + row * p.selected_stride : nullptr;
  const int64_t keys = selected != nullptr
                           ? ListedKeys(selected, p.selected_columns)
                           : p.context_lens[sequence] - (p.query_start[sequence + 1] - row) + 1;  // causal
  const T* key_a = static_cast<const T*>(p.key_a) + kv_head * p.a_head;
  const T* key_b = p.b_dim > 0 ? static_cast<const T*>(p.key_b) + kv_head * p.b_head : nullptr;
  const T* value = static_cast<const T*>(p.value) + kv_head * p.v_head;

  for (int64_t d = tid; d < p.a_dim; d += kKeysAtOnce) {
    query[d] = LoadAt(p.q_a, row * p.q_a.stride[0] + head * p.q_a.stride[1] + d);
  }
  for (int64_t d = tid; d < p.b_dim; d += kKeysAtOnce) {
    query[p.a_dim + d] = LoadAt(p.q_b, row * p.q_b.stride[0] + head * p.q_b.stride[1] + d);
  }
  for (int64_t d = tid; d < p.v_dim; d += kKeysAtOnce) sums[d] = 0;
  __syncthreads();

  float largest = -INFINITY, total = 0;
  for (int64_t base = 0; base < keys; base += kKeysAtOnce) {
    float score = -INFINITY;
    if (base + tid < keys) {
      const int64_t position = selected != nullptr ? selected[base + tid] : base + tid;
      int64_t block = 0, token = position;
      if (p.table != nullptr) {
        const Divided at = Divide(position, p.block_tokens);
        block = p.table[sequence * p.table_stride + at.quotient];
        token = at.remainder;
      } else {
        token += p.kv_start[sequence];
      }
      value_offset[tid] = block * p.v_block + token * p.v_token;
      const T* a = key_a + block * p.a_block + token * p.a_token;
      float sum = 0;
      for (int64_t d = 0; d < p.a_dim; ++d) sum += query[d] * ToF32(a[d]);
      if (p.b_dim > 0) {
        const T* b = key_b + block * p.b_block + token * p.b_token;
        for (int64_t d = 0; d < p.b_dim; ++d) sum += query[p.a_dim + d] * ToF32(b[d]);
      }
      score = sum * p.scale;
    }
    const float new_largest = fmaxf(largest, BlockReduce(score, scratch, Larger()));
    const float weight = base + tid < keys ? expf(score - new_largest) : 0.0f;
    probability[tid] = weight;
    const float weights =
        BlockReduce(weight, scratch, Add());  // its barriers also publish probability and value_offset
    const float shrink = expf(largest - new_largest);
    const int64_t in_tile = keys - base < kKeysAtOnce ? keys - base : kKeysAtOnce;
    for (int64_t d = tid; d < p.v_dim; d += kKeysAtOnce) {
      float sum = sums[d] * shrink;
      for (int64_t i = 0; i < in_tile; ++i) sum += probability[i] * ToF32(value[value_offset[i] + d]);
      sums[d] = sum;
    }
    total = total * shrink + weights;
    largest = new_largest;
    __syncthreads();  // before the next tile overwrites probability and value_offset
  }
  for (int64_t d = tid; d < p.v_dim; d += kKeysAtOnce) {
    StoreAt(p.out, row * p.out.stride[0] + head * p.out.stride[1] + d, sums[d] / total);
  }
}

// One block a row of the result, in turns.
__global__ void MlaGatherKernel(View cache, View latent, const int32_t* kv_start, int64_t sequences,
                                const int32_t* table, int64_t table_stride) {
  const int64_t block_tokens = cache.size[1], dim = cache.size[2];
  for (int64_t row = blockIdx.x; row < latent.size[0]; row += gridDim.x) {
    const int64_t sequence = FindRange(kv_start, sequences, row);
    const Divided position = Divide(row - kv_start[sequence], block_tokens);
    const int64_t block = table[sequence * table_stride + position.quotient];
    const int64_t from = block * cache.stride[0] + position.remainder * cache.stride[1];
    for (int64_t d = threadIdx.x; d < dim; d += blockDim.x) {
      StoreAt(latent, row * latent.stride[0] + d, LoadAt(cache, from + d));
    }
  }
}

}  // namespace

int64_t AttentionSharedBytes(int64_t key_dim, int64_t value_dim) {
  return kKeysAtOnce * int64_t{sizeof(int64_t)} + (key_dim + value_dim + 2 * kKeysAtOnce) * int64_t{sizeof(float)};
}

int LaunchAttention(Stream stream, const AttentionLaunch& p) {
  const int64_t blocks = p.tokens * p.heads, shared = AttentionSharedBytes(p.a_dim + p.b_dim, p.v_dim);
  if (p.kv_dtype == DType::kBF16) return Launch(stream, AttentionKernel<__nv_bfloat16>, blocks, kKeysAtOnce, shared, p);
  if (p.kv_dtype == DType::kF16) return Launch(stream, AttentionKernel<__half>, blocks, kKeysAtOnce, shared, p);
  return Launch(stream, AttentionKernel<float>, blocks, kKeysAtOnce, shared, p);
}

int LaunchMlaGather(Stream stream, View cache, View latent, const int32_t* kv_start, int64_t sequences,
                    const int32_t* table, int64_t table_stride) {
  const int64_t rows = latent.size[0] < kMaxGridBlocks ? latent.size[0] : kMaxGridBlocks;
  return Launch(stream, MlaGatherKernel, latent.size[1] > 0 ? rows : 0, 128, 0, cache, latent, kv_start, sequences,
                table, table_stride);
}

}  // namespace hadal::kernels::cuda
