// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/flashinfer.h"

namespace hadal::kernels::cuda {
namespace {

__global__ void BuildPageIndicesKernel(const int32_t* table, int64_t table_stride, const int32_t* first_page,
                                       int64_t sequences, int32_t* page_indices) {
  HADAL_GRID_STRIDE(i, first_page[sequences]) {
    const int64_t sequence = FindRange(first_page, sequences, i);
    page_indices[i] = table[sequence * table_stride + i - first_page[sequence]];
  }
}

}  // namespace

int LaunchBuildPageIndices(Stream stream, const int32_t* table, int64_t table_stride, const int32_t* first_page,
                           int64_t sequences, int64_t most_pages, int32_t* page_indices) {
  return Launch(stream, BuildPageIndicesKernel, GridStrideBlocks(most_pages), kThreads, 0, table, table_stride,
                first_page, sequences, page_indices);
}

}  // namespace hadal::kernels::cuda
