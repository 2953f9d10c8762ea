// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/device.cuh"

namespace hadal::kernels::cuda {
namespace {

// Values of a position from channel 0 on; *gates is how far behind them the gates lie.
__device__ const float* InputRow(const CompressPoolLaunch& p, int64_t sequence, int64_t position, int64_t* gates) {
  const int64_t begin = p.query_start[sequence];
  const int64_t first_new = p.context_lens[sequence] - (p.query_start[sequence + 1] - begin);
  if (position >= first_new) {
    *gates = p.step_rows.stride[1];
    return static_cast<const float*>(p.step_rows.data) + (begin + position - first_new) * p.step_rows.stride[0];
  }
  *gates = p.rows.stride[2];
  const Divided at = Divide(position, p.block_tokens);
  const int64_t block = p.block_tables[sequence * p.table_stride + at.quotient];
  return static_cast<const float*>(p.rows.data) + block * p.rows.stride[0] +
         Divide(at.remainder, p.rows.size[1]).remainder * p.rows.stride[1];
}

// One thread a channel of an entry: an online softmax over the group's tokens.
__global__ void CompressPoolKernel(CompressPoolLaunch p) {
  const int64_t dim = p.out.size[1];
  const int64_t entry = blockIdx.x, c = int64_t{blockIdx.y} * kThreads + threadIdx.x;
  if (c >= dim) return;
  const int64_t sequence = p.sequences[entry];
  const int64_t begin = int64_t{p.entries[entry]} * p.ratio;
  int64_t position = begin;
  if (p.overlap && begin > 0) position -= p.ratio;
  float largest = -INFINITY, total = 0, sum = 0;
  for (; position < begin + p.ratio; ++position) {
    const int64_t channel = p.overlap && position >= begin ? dim + c : c;
    int64_t gates = 0;
    const float* row = InputRow(p, sequence, position, &gates) + channel;
    const float gate = row[gates] + p.position_bias[Divide(position, p.ratio).remainder * p.width + channel];
    const float new_largest = fmaxf(largest, gate);
    const float shrink = expf(largest - new_largest), weight = expf(gate - new_largest);
    total = total * shrink + weight;
    sum = sum * shrink + weight * row[0];
    largest = new_largest;
  }
  StoreAt(p.out, entry * p.out.stride[0] + c, sum / total);
}

}  // namespace

int LaunchCompressPool(Stream stream, const CompressPoolLaunch& p) {
  const Grid grid(p.out.size[0], (p.out.size[1] + kThreads - 1) / kThreads);
  return Launch(stream, CompressPoolKernel, grid, kThreads, 0, p);
}

}  // namespace hadal::kernels::cuda
