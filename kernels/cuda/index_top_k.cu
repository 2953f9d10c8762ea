// SPDX-License-Identifier: Apache-2.0
//
// The indexer's scores, one thread an entry, and the choice of the best, one block a query.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/top_k_threshold.cuh"

namespace hadal::kernels::cuda {
namespace {

constexpr int kEntriesAtOnce = 128;

// Entries that a query row sees.
__device__ int64_t Visible(const IndexTopKLaunch& p, int64_t row, int64_t sequence) {
  return Divide(p.context_lens[sequence] - (p.query_start[sequence + 1] - row) + 1, p.tokens_per_entry).quotient;
}

// Block (row, tile) writes the scores of a tile of entries.
__global__ void IndexScoreKernel(IndexTopKLaunch p) {
  float* query = reinterpret_cast<float*>(SharedMemory());  // one head
  const int64_t tiles = (p.score_columns + kEntriesAtOnce - 1) / kEntriesAtOnce;
  const Divided place = Divide(blockIdx.x, tiles);
  const int64_t row = p.first_row + place.quotient;
  const int64_t entry = place.remainder * kEntriesAtOnce + threadIdx.x;
  const int64_t sequence = FindRange(p.query_start, p.sequences, row);
  const int64_t visible = Visible(p, row, sequence);
  if (visible <= p.top_k || entry - threadIdx.x >= visible) return;  // the same for all threads
  const int64_t heads = p.q.size[1], dim = p.q.size[2], block_entries = p.keys.size[1];
  int64_t key = 0;
  if (entry < visible) {
    const Divided at = Divide(entry, block_entries);
    const int64_t block = p.table[sequence * p.table_stride + at.quotient];
    key = block * p.keys.stride[0] + at.remainder * p.keys.stride[1];
  }
  float score = 0;
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t d = threadIdx.x; d < dim; d += blockDim.x) {
      query[d] = LoadAt(p.q, row * p.q.stride[0] + h * p.q.stride[1] + d);
    }
    __syncthreads();
    if (entry < visible) {
      float product = 0;
      for (int64_t d = 0; d < dim; ++d) product += query[d] * LoadAt(p.keys, key + d);
      score += LoadAt(p.weights, row * p.weights.stride[0] + h) * (product > 0 ? product : 0.0f);
    }
    __syncthreads();  // before the next head overwrites the query
  }
  if (entry < visible) {
    p.scores[(row - p.first_row) * p.score_columns + entry] = isnan(score) ? -INFINITY : score;
  }
}

// One block a query row.
__global__ void IndexSelectKernel(IndexTopKLaunch p) {
  int64_t* scratch = reinterpret_cast<int64_t*>(SharedMemory());
  const int64_t row = p.first_row + blockIdx.x;
  const int64_t visible = Visible(p, row, FindRange(p.query_start, p.sequences, row));
  int32_t* selected = p.selected + row * p.selected_stride;
  if (visible <= p.top_k) {
    for (int64_t i = threadIdx.x; i < p.top_k; i += blockDim.x)
      selected[i] = i < visible ? static_cast<int32_t>(i) : -1;
    return;
  }
  const float* scores = p.scores + (row - p.first_row) * p.score_columns;
  const Threshold threshold = TopKThreshold(scores, visible, p.top_k, scratch);
  const int64_t begin = ChunkBegin(visible, threadIdx.x), end = ChunkBegin(visible, threadIdx.x + 1);
  int64_t ties = 0, above = 0, all = 0;
  for (int64_t j = begin; j < end; ++j) {
    const uint32_t key = Key(scores[j]);
    ties += key == threshold.key ? 1 : 0;
    above += key > threshold.key ? 1 : 0;
  }
  ties = BlockExclusiveSum(ties, scratch, &all);  // before this thread's chunk
  above = BlockExclusiveSum(above, scratch, &all);
  int64_t out = above + (ties < threshold.ties ? ties : threshold.ties);
  for (int64_t j = begin; j < end; ++j) {
    const uint32_t key = Key(scores[j]);
    const bool tie = key == threshold.key;
    if (key > threshold.key || (tie && ties < threshold.ties)) selected[out++] = static_cast<int32_t>(j);
    if (tie) ++ties;
  }
}

}  // namespace

int LaunchIndexTopK(Stream stream, const IndexTopKLaunch& p) {
  const int64_t tiles = (p.score_columns + kEntriesAtOnce - 1) / kEntriesAtOnce;
  const int scored =
      Launch(stream, IndexScoreKernel, p.row_count * tiles, kEntriesAtOnce, p.q.size[2] * int64_t{sizeof(float)}, p);
  if (scored != 0) return scored;
  return Launch(stream, IndexSelectKernel, p.row_count, kThreads, kThreads * int64_t{sizeof(int64_t)}, p);
}

}  // namespace hadal::kernels::cuda
