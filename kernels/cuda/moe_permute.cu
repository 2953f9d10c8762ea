// SPDX-License-Identifier: Apache-2.0
//
// Sorting and merging of the rows of a mixture of experts. Results do not depend on timing: no atomics.
#include "kernels/cuda/device.cuh"

namespace hadal::kernels::cuda {
namespace {

constexpr int64_t kFewPairs = 1024;     // up to here one launch sorts, each pair comparing itself with all others
constexpr int64_t kMergeColumns = 512;  // of a block

// What a pair sees among the others.
struct Neighbours {
  int32_t before = 0;        // pairs that come before it in the sorted order
  int32_t equal_before = 0;  // of those, on the same expert
  int32_t previous = -1;     // the last expert before its own that has pairs
};

struct Join {
  __device__ Neighbours operator()(const Neighbours& a, const Neighbours& b) const {
    return {a.before + b.before, a.equal_before + b.equal_before, a.previous > b.previous ? a.previous : b.previous};
  }
};

// One block a pair: its place, its row, and the starts of the experts from the one before to its own.
__global__ void PermuteFewKernel(const int32_t* ids, View x, View x_sorted, int32_t* row_of, int32_t* expert_start,
                                 int32_t top_k, int32_t experts) {
  Neighbours* scratch = reinterpret_cast<Neighbours*>(SharedMemory());
  const int pair = static_cast<int>(blockIdx.x), pairs = static_cast<int>(gridDim.x);
  const int32_t own = ids[pair];
  Neighbours seen;
  for (int i = ThreadIndex(); i < pairs; i += ThreadCount()) {
    const int32_t id = ids[i];
    const bool equal_before = id == own && i < pair;
    seen = Join()(seen, {id < own || equal_before ? 1 : 0, equal_before ? 1 : 0, id < own ? id : -1});
  }
  seen = BlockReduce(seen, scratch, Join());
  if (threadIdx.x == 0) row_of[pair] = seen.before;
  if (seen.equal_before == 0) {
    for (int32_t e = seen.previous + 1 + ThreadIndex(); e <= own; e += ThreadCount()) expert_start[e] = seen.before;
  }
  if (seen.before == pairs - 1) {
    for (int32_t e = own + 1 + ThreadIndex(); e <= experts; e += ThreadCount()) expert_start[e] = pairs;
  }
  CopyRow(x, (pair / top_k) * x.stride[0], x_sorted, seen.before * x_sorted.stride[0], x.size[1]);
}

// One block an expert: how many pairs are its own, left in expert_start[e + 1].
__global__ void CountKernel(const int32_t* ids, int64_t pairs, int32_t* expert_start) {
  int32_t* scratch = reinterpret_cast<int32_t*>(SharedMemory());
  int32_t count = 0;
  for (int64_t i = threadIdx.x; i < pairs; i += blockDim.x) count += ids[i] == static_cast<int32_t>(blockIdx.x) ? 1 : 0;
  count = BlockReduce(count, scratch, Add());
  if (threadIdx.x == 0) expert_start[blockIdx.x + 1] = count;
}

// One thread: counts to starts.
__global__ void StartKernel(int32_t* expert_start, int64_t experts) {
  int32_t sum = 0;
  expert_start[0] = 0;
  for (int64_t e = 0; e < experts; ++e) {
    sum += expert_start[e + 1];
    expert_start[e + 1] = sum;
  }
}

// One block an expert: numbers its pairs in their order.
__global__ void RankKernel(const int32_t* ids, int64_t pairs, const int32_t* expert_start, int32_t* row_of) {
  int32_t* scratch = reinterpret_cast<int32_t*>(SharedMemory());
  int32_t next = expert_start[blockIdx.x];
  for (int64_t base = 0; base < pairs; base += blockDim.x) {
    const int64_t i = base + threadIdx.x;
    const int32_t own = i < pairs && ids[i] == static_cast<int32_t>(blockIdx.x) ? 1 : 0;
    int32_t in_chunk = 0;
    const int32_t before = BlockExclusiveSum(own, scratch, &in_chunk);
    if (own != 0) row_of[i] = next + before;
    next += in_chunk;
  }
}

// One block a pair.
__global__ void ScatterRowsKernel(View x, View x_sorted, const int32_t* row_of, uint32_t top_k) {
  const int64_t from = (blockIdx.x / top_k) * x.stride[0], to = row_of[blockIdx.x] * x_sorted.stride[0];
  CopyRow(x, from, x_sorted, to, x.size[1]);
}

// One block for some columns of a token. Shared: the token's choices in the order of their rows.
__global__ void MoeUnpermuteKernel(View y_sorted, const int32_t* row_of, const float* weights, int64_t top_k,
                                   View addend, bool has_addend, View out) {
  int32_t* order = reinterpret_cast<int32_t*>(SharedMemory());
  const int64_t token = blockIdx.x, hidden = out.size[1];
  const int32_t* rows = row_of + token * top_k;
  for (int64_t j = threadIdx.x; j < top_k; j += blockDim.x) {
    int32_t rank = 0;
    for (int64_t i = 0; i < top_k; ++i) rank += rows[i] < rows[j] ? 1 : 0;  // rows are distinct
    order[rank] = static_cast<int32_t>(j);
  }
  __syncthreads();
  const int64_t begin = blockIdx.y * kMergeColumns;
  const int64_t end = begin + kMergeColumns < hidden ? begin + kMergeColumns : hidden;
  for (int64_t j = begin + threadIdx.x; j < end; j += blockDim.x) {
    float sum = has_addend ? LoadAt(addend, token * addend.stride[0] + j) : 0.0f;
    for (int64_t i = 0; i < top_k; ++i) {
      sum += weights[token * top_k + order[i]] * LoadAt(y_sorted, rows[order[i]] * y_sorted.stride[0] + j);
    }
    StoreAt(out, token * out.stride[0] + j, sum);
  }
}

}  // namespace

int LaunchMoePermute(Stream stream, const int32_t* ids, int64_t tokens, int64_t top_k, View x, View x_sorted,
                     int32_t* row_of, int32_t* expert_start, int64_t experts) {
  const int64_t pairs = tokens * top_k, shared = kThreads * int64_t{sizeof(int32_t)};
  if (pairs >= 1 && pairs <= kFewPairs) {
    return Launch(stream, PermuteFewKernel, pairs, kThreads, kThreads * int64_t{sizeof(Neighbours)}, ids, x, x_sorted,
                  row_of, expert_start, static_cast<int32_t>(top_k), static_cast<int32_t>(experts));
  }
  if (int error = Launch(stream, CountKernel, experts, kThreads, shared, ids, pairs, expert_start); error != 0)
    return error;
  if (int error = Launch(stream, StartKernel, 1, 1, 0, expert_start, experts); error != 0) return error;
  if (pairs == 0) return 0;
  if (int error = Launch(stream, RankKernel, experts, kThreads, shared, ids, pairs, expert_start, row_of); error != 0) {
    return error;
  }
  return Launch(stream, ScatterRowsKernel, pairs, kThreads, 0, x, x_sorted, row_of, static_cast<uint32_t>(top_k));
}

int64_t MoeUnpermuteSharedBytes(int64_t top_k) { return top_k * int64_t{sizeof(int32_t)}; }

int LaunchMoeUnpermute(Stream stream, View y_sorted, const int32_t* row_of, const float* weights, int64_t top_k,
                       View addend, bool has_addend, View out) {
  const Grid grid(out.size[0], (out.size[1] + kMergeColumns - 1) / kMergeColumns);
  return Launch(stream, MoeUnpermuteKernel, grid, kThreads, MoeUnpermuteSharedBytes(top_k), y_sorted, row_of, weights,
                top_k, addend, has_addend, out);
}

}  // namespace hadal::kernels::cuda
