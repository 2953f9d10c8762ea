// SPDX-License-Identifier: Apache-2.0
//
// rope_kv_append: norms, rotation and both cache writes of a step's heads in one launch, one block a head. A head lies
// in shared memory between its parts, as rounded as if each part had stored it.
#include "kernels/cuda/device.cuh"

namespace hadal::kernels::cuda {
namespace {

constexpr int kHeadThreads = 128;

// row[norm columns] = norm(row[norm columns]), rounded to the type of the head.
__device__ void NormColumns(const RopeHeads& h, float* row, float* scratch) {
  float squares = 0;
  for (int j = ThreadIndex(); j < h.norm_width; j += ThreadCount()) {
    const float value = row[h.norm_begin + j];
    squares += value * value;
  }
  squares = BlockReduce(squares, scratch, Add());
  const float scale = 1.0f / sqrtf(squares / static_cast<float>(h.norm_width) + h.eps);
  for (int j = ThreadIndex(); j < h.norm_width; j += ThreadCount()) {
    float result = row[h.norm_begin + j] * scale;
    if (h.has_weight) result = LoadAt(h.weight, j) * (h.float32_product ? result : RoundTo(h.rows.dtype, result));
    row[h.norm_begin + j] = RoundTo(h.rows.dtype, result);
  }
}

__device__ void RotateColumns(const RopeKvAppendLaunch& p, const RopeHeads& h, int32_t position, float* row) {
  const int half = static_cast<int>(p.cos.size[1]);
  const float* cos = static_cast<const float*>(p.cos.data) + int64_t{position} * half;
  const float* sin = p.sin + int64_t{position} * half;
  for (int i = ThreadIndex(); i < half; i += ThreadCount()) {
    float& first = row[h.rope_begin + (p.interleaved ? 2 * i : i)];
    float& second = row[h.rope_begin + (p.interleaved ? 2 * i + 1 : i + half)];
    const float a = first, b = second, c = cos[i], s = sin[i];
    first = RoundTo(h.rows.dtype, a * c - b * s);
    second = RoundTo(h.rows.dtype, b * c + a * s);
  }
}

// The head through norm and rotation, in place, and to the cache where there is one.
__device__ void PrepareHead(const RopeKvAppendLaunch& p, const RopeHeads& h, int64_t token, int64_t head,
                            const View* cache) {
  float* scratch = reinterpret_cast<float*>(SharedMemory());
  float* row = scratch + kHeadThreads;
  const int64_t from = token * h.rows.stride[0] + head * h.rows.stride[1];
  const int32_t position = p.positions[token];
  for (int j = ThreadIndex(); j < h.width; j += ThreadCount()) row[j] = LoadAt(h.rows, from + j);
  __syncthreads();
  if (h.norm_width > 0) {
    NormColumns(h, row, scratch);
    __syncthreads();
  }
  if (position >= 0 && position < p.cos.size[0]) RotateColumns(p, h, position, row);
  __syncthreads();
  for (int j = ThreadIndex(); j < h.width; j += ThreadCount()) StoreAt(h.rows, from + j, row[j]);
  if (cache == nullptr) return;
  const int64_t to = CacheRow(*cache, p.slots, token, head);
  for (int j = ThreadIndex(); to >= 0 && j < h.width; j += ThreadCount()) StoreAt(*cache, to + j, row[j]);
}

__global__ void RopeKvAppendKernel(RopeKvAppendLaunch p) {
  const int64_t token = blockIdx.x, q_heads = p.q.rows.size[1], k_heads = p.k.rows.size[1];
  int64_t head = blockIdx.y;
  if (head < q_heads) {
    PrepareHead(p, p.q, token, head, nullptr);
    return;
  }
  head -= q_heads;
  if (head < k_heads) {
    PrepareHead(p, p.k, token, head, &p.k_cache);
    return;
  }
  head -= k_heads;
  const int64_t from = token * p.v.stride[0] + head * p.v.stride[1], to = CacheRow(p.v_cache, p.slots, token, head);
  for (int j = ThreadIndex(); to >= 0 && j < p.v.size[2]; j += ThreadCount()) {
    StoreAt(p.v_cache, to + j, LoadAt(p.v, from + j));
  }
}

}  // namespace

int64_t RopeKvAppendSharedBytes(const RopeKvAppendLaunch& p) {
  return (kHeadThreads + int64_t{p.q.width > p.k.width ? p.q.width : p.k.width}) * int64_t{sizeof(float)};
}

int LaunchRopeKvAppend(Stream stream, const RopeKvAppendLaunch& p) {
  const int64_t heads = p.q.rows.size[1] + p.k.rows.size[1] + (p.has_v ? p.v.size[1] : 0);
  return Launch(stream, RopeKvAppendKernel, {p.k.rows.size[0], heads}, kHeadThreads, RopeKvAppendSharedBytes(p), p);
}

}  // namespace hadal::kernels::cuda
