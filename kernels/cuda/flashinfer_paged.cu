// SPDX-License-Identifier: Apache-2.0
//
// FlashInfer throws on what it does not take; nothing leaves this file but an error code and a text.
#include <cuda_runtime.h>

#include <exception>
#include <flashinfer/attention/scheduler.cuh>
#include <utility>

#include "kernels/cuda/flashinfer.h"

namespace hadal::kernels::cuda {

cudaError_t RunFlashPagedBf16Dim64(cudaStream_t stream, const FlashPagedLaunch& launch, const FlashPagedPlan& plan);
cudaError_t RunFlashPagedBf16Dim128(cudaStream_t stream, const FlashPagedLaunch& launch, const FlashPagedPlan& plan);
cudaError_t RunFlashPagedF16Dim64(cudaStream_t stream, const FlashPagedLaunch& launch, const FlashPagedPlan& plan);
cudaError_t RunFlashPagedF16Dim128(cudaStream_t stream, const FlashPagedLaunch& launch, const FlashPagedPlan& plan);

bool HaveFlashInfer() { return true; }

// As PrefillPlan does before it lays its lists out and copies them, which is the caller's business here.
int SplitFlashPaged(const FlashPagedLaunch& p, int64_t multiprocessors, bool replayed, FlashPagedSplit* split,
                    std::string* message) {
  try {
    const int64_t blocks = 2 * multiprocessors;
    auto [is_split, tiles, padded_tiles, tile_rows, chunk_tokens, sequence, query_tile, key_tile, merge_first,
          first_row] =
        ::flashinfer::PrefillSplitQOKVIndptr<int32_t>(
            const_cast<int32_t*>(p.host_query_start), const_cast<int32_t*>(p.host_first_page),
            static_cast<uint32_t>(p.tokens), static_cast<uint32_t>(p.sequences), static_cast<uint32_t>(p.heads),
            static_cast<uint32_t>(p.kv_heads), static_cast<uint32_t>(p.head_dim), static_cast<uint32_t>(p.block_tokens),
            static_cast<uint32_t>(blocks / p.kv_heads), /*enable_cuda_graph=*/replayed, /*window_left=*/-1,
            /*fixed_split_size=*/-1, /*disable_split_kv=*/false, /*uniform_q_len=*/replayed ? 1 : 0,
            static_cast<uint32_t>(p.head_dim));
    (void)tiles;
    split->padded_tiles = replayed ? static_cast<int64_t>(padded_tiles) : 0;
    split->split = is_split;
    split->tile_rows = tile_rows;
    split->chunk_tokens = chunk_tokens;
    split->sequence = std::move(sequence);
    split->query_tile = std::move(query_tile);
    split->key_tile = std::move(key_tile);
    split->merge_first = std::move(merge_first);
    split->first_row = std::move(first_row);
    return cudaSuccess;
  } catch (const std::exception& e) {
    *message = e.what();
    return cudaErrorUnknown;
  }
}

int RunFlashPaged(Stream stream, const FlashPagedLaunch& p, const FlashPagedPlan& plan, std::string* message) {
  const auto native = static_cast<cudaStream_t>(stream);
  try {
    if (p.dtype == DType::kBF16) {
      return p.head_dim == 64 ? RunFlashPagedBf16Dim64(native, p, plan) : RunFlashPagedBf16Dim128(native, p, plan);
    }
    return p.head_dim == 64 ? RunFlashPagedF16Dim64(native, p, plan) : RunFlashPagedF16Dim128(native, p, plan);
  } catch (const std::exception& e) {
    *message = e.what();
    return cudaErrorUnknown;
  }
}

}  // namespace hadal::kernels::cuda
