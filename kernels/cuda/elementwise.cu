// SPDX-License-Identifier: Apache-2.0
//
// feed_tokens, embedding, cast, silu_mul, rope, kv_append. Rows and heads are dimensions of the grid, so that indices
// take no division.
#include "kernels/cuda/vector.cuh"

namespace hadal::kernels::cuda {
namespace {

constexpr int kHeadThreads = 64;

__global__ void FeedTokensKernel(int32_t* ids, int64_t tokens, const int32_t* sampled, int64_t rows) {
  HADAL_GRID_STRIDE(t, tokens) {
    if (ids[t] >= 0) continue;
    const int64_t row = -1 - int64_t{ids[t]};
    const int32_t token = row < rows ? sampled[row] : 0;
    ids[t] = token > 0 ? token : 0;
  }
}

// One block a token.
__global__ void EmbeddingKernel(const int32_t* ids, View table, View out) {
  const int64_t t = blockIdx.x, hidden = table.size[1], to = t * out.stride[0];
  const int32_t id = ids[t];
  const bool known = id >= 0 && id < table.size[0];
  if (known && table.dtype == out.dtype) {
    CopyRow(table, id * table.stride[0], out, to, hidden);
    return;
  }
  for (int64_t j = threadIdx.x; j < hidden; j += blockDim.x) {
    StoreAt(out, to + j, known ? LoadAt(table, id * table.stride[0] + j) : 0.0f);
  }
}

// `Index` holds the number of elements.
template <typename Index>
__global__ void CastKernel(View in, View out, int64_t count) {
  HADAL_GRID_STRIDE(i, count) {
    const Index width = static_cast<Index>(in.size[3]);
    Index rest = static_cast<Index>(i) / width;
    int64_t from = static_cast<Index>(i) - rest * width, to = from;
    for (int d = 2; d >= 0; --d) {
      const Index size = static_cast<Index>(in.size[d]), next = rest / size;
      const int64_t index = rest - next * size;
      rest = next;
      from += index * in.stride[d];
      to += index * out.stride[d];
    }
    StoreAt(out, to, LoadAt(in, from));
  }
}

// One thread an element.
__global__ void SiluMulKernel(View gate, View up, View out, float limit) {
  const int64_t t = blockIdx.x, j = int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  if (j >= gate.size[1]) return;
  const float g = LoadAt(gate, t * gate.stride[0] + j), u = LoadAt(up, t * up.stride[0] + j);
  StoreAt(out, t * out.stride[0] + j, SiluTimes(g, u, limit));
}

// One thread eight elements.
template <typename T>
__global__ void SiluMulVectorKernel(View gate, View up, View out, float limit) {
  const int64_t t = blockIdx.x, j = (int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * kVector;
  if (j >= gate.size[1]) return;
  float g[kVector], u[kVector];
  Load8(static_cast<const T*>(gate.data) + t * gate.stride[0] + j).Unpack(g);
  Load8(static_cast<const T*>(up.data) + t * up.stride[0] + j).Unpack(u);
  for (int i = 0; i < kVector; ++i) g[i] = SiluTimes(g[i], u[i], limit);
  Packed<T> result;
  result.Pack(g);
  Store8(static_cast<T*>(out.data) + t * out.stride[0] + j, result);
}

// One block a head.
__global__ void RopeKernel(View x, const int32_t* positions, View cos, const float* sin, bool interleaved,
                           bool inverse) {
  const int64_t t = blockIdx.x, start = t * x.stride[0] + blockIdx.y * x.stride[1];
  const int32_t position = positions[t];
  if (position < 0 || position >= cos.size[0]) return;
  const int half = static_cast<int>(cos.size[1]);
  const float* cos_row = static_cast<const float*>(cos.data) + int64_t{position} * half;
  const float* sin_row = sin + int64_t{position} * half;
  for (int i = ThreadIndex(); i < half; i += ThreadCount()) {
    const int64_t first = start + (interleaved ? 2 * i : i), second = start + (interleaved ? 2 * i + 1 : i + half);
    const float c = cos_row[i], s = inverse ? -sin_row[i] : sin_row[i];
    const float a = LoadAt(x, first), b = LoadAt(x, second);
    StoreAt(x, first, a * c - b * s);
    StoreAt(x, second, b * c + a * s);
  }
}

// One block a head.
__global__ void KvAppendKernel(View rows, View cache, View slots) {
  const int64_t t = blockIdx.x, head = blockIdx.y;
  const int64_t from = t * rows.stride[0] + head * rows.stride[1], to = CacheRow(cache, slots, t, head);
  if (to < 0) return;
  if (rows.dtype == cache.dtype) {
    CopyRow(rows, from, cache, to, rows.size[2]);
    return;
  }
  for (int64_t j = threadIdx.x; j < rows.size[2]; j += blockDim.x) StoreAt(cache, to + j, LoadAt(rows, from + j));
}

int64_t DivideUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }

}  // namespace

int FindKernelImage() {
  cudaFuncAttributes attributes = {};
  const cudaError_t found = cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(CastKernel<uint32_t>));
  if (found != cudaSuccess) cudaGetLastError();  // told to the caller, so not left for the next call
  return found;
}

int LaunchFeedTokens(Stream stream, int32_t* ids, int64_t tokens, const int32_t* sampled, int64_t rows) {
  return Launch(stream, FeedTokensKernel, GridStrideBlocks(tokens), kThreads, 0, ids, tokens, sampled, rows);
}

int LaunchEmbedding(Stream stream, const int32_t* ids, int64_t tokens, View table, View out) {
  if (table.size[1] == 0) return 0;
  return Launch(stream, EmbeddingKernel, tokens, kThreads, 0, ids, table, out);
}

int LaunchCast(Stream stream, View in, View out) {
  const int64_t count = in.size[0] * in.size[1] * in.size[2] * in.size[3];
  const bool narrow = count <= int64_t{UINT32_MAX};
  return Launch(stream, narrow ? CastKernel<uint32_t> : CastKernel<uint64_t>, GridStrideBlocks(count), kThreads, 0, in,
                out, count);
}

int LaunchSiluMul(Stream stream, View gate, View up, View out, float limit) {
  const int64_t rows = gate.size[0], inter = gate.size[1];
  const DType dtype = gate.dtype;
  if (dtype != DType::kF32 && up.dtype == dtype && out.dtype == dtype && WholeVectors(gate, inter) &&
      WholeVectors(up, inter) && WholeVectors(out, inter)) {
    return Launch(stream, dtype == DType::kBF16 ? SiluMulVectorKernel<__nv_bfloat16> : SiluMulVectorKernel<__half>,
                  {rows, DivideUp(inter, kThreads * kVector)}, kThreads, 0, gate, up, out, limit);
  }
  return Launch(stream, SiluMulKernel, {rows, DivideUp(inter, kThreads)}, kThreads, 0, gate, up, out, limit);
}

int LaunchRope(Stream stream, View x, const int32_t* positions, View cos, const float* sin, bool interleaved,
               bool inverse) {
  return Launch(stream, RopeKernel, {x.size[0], x.size[1]}, kHeadThreads, 0, x, positions, cos, sin, interleaved,
                inverse);
}

int LaunchKvAppend(Stream stream, View rows, View cache, View slots) {
  return Launch(stream, KvAppendKernel, {rows.size[0], rows.size[1]}, kHeadThreads, 0, rows, cache, slots);
}

}  // namespace hadal::kernels::cuda
