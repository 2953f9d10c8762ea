// SPDX-License-Identifier: Apache-2.0
//
// FlashInfer's attention kernels in plain C++; flash_plan.h says what they take. A call is planned on the host, its
// lists are put on the device by the caller, then it runs. Functions return a cudaError_t as an int; *message explains
// one that is not CUDA's own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/cuda/launch.h"

namespace hadal::kernels::cuda {

inline constexpr int64_t kFlashMlaLatent = 512, kFlashMlaRope = 64;
inline constexpr int64_t kFlashMlaMaxWork = 16384;  // of FlashInfer's MLAPlan

// Packed rows of a tile in a fixed plan (flash_fixed_plan.h): a row is a token and one of the query heads that share a
// key head.
inline constexpr int64_t kFlashFixedTile = 64;  // paged attention: the smallest whose warps do not share out keys
inline constexpr int64_t kFlashMlaTile = 128;   // MLA: two blocks of 64 rows, so that 128 heads are a whole token

// False where FlashInfer is not compiled in (in the emulator of the tests).
bool HaveFlashInfer();

// page_indices[first_page[s] + b] = table[s][b] for the pages of each sequence, `most_pages` or fewer.
int LaunchBuildPageIndices(Stream stream, const int32_t* table, int64_t table_stride, const int32_t* first_page,
                           int64_t sequences, int64_t most_pages, int32_t* page_indices);

// Who computes what: tiles of packed query rows, each with a range of keys. Lists are offsets in bytes into
// int_workspace, partial sums into float_workspace.
struct FlashPagedPlan {
  int64_t tiles = 0, tile_rows = 0;
  int64_t sequence = 0, query_tile = 0, key_tile = 0;  // of each tile
  int64_t first_row = 0, chunk = 0;                    // of each sequence; the tokens of a key tile
  bool split = false;                                  // the keys of a query are shared out, and merged at the end
  int64_t merge_first = 0, partial_sums = 0, partial_logarithms = 0;
  // Of a plan that a graph replays: which tiles are more than padding, and the number of rows. -1: no such plan.
  int64_t valid_tiles = -1, row_count = -1;
};

struct FlashPagedLaunch {
  DType dtype = DType::kBF16;
  int64_t head_dim = 0;
  const void *q = nullptr, *k = nullptr, *v = nullptr;
  void* out = nullptr;  // contiguous [tokens, heads, head_dim]
  int64_t tokens = 0, heads = 0, kv_heads = 0, sequences = 0, block_tokens = 0;
  int64_t q_token = 0, q_head = 0;
  int64_t k_strides[3] = {}, v_strides[3] = {};  // block, token, head
  const int32_t* query_start = nullptr;          // device
  const int32_t* host_query_start = nullptr;
  float scale = 1;
  // Filled in by the backend.
  const int32_t* host_first_page = nullptr;
  const int32_t *first_page = nullptr, *last_page_tokens = nullptr, *page_indices = nullptr;  // device
  void *float_workspace = nullptr, *int_workspace = nullptr;                                  // device
};
// How FlashInfer itself shares out a call: what its plan holds before it has a layout (flash_plan.h).
struct FlashPagedSplit {
  bool split = false;
  int64_t tile_rows = 0, chunk_tokens = 0;
  std::vector<int32_t> sequence, query_tile, key_tile;  // of each tile
  std::vector<int32_t> first_row;                       // [sequences + 1], of the partial sums
  std::vector<int32_t> merge_first;                     // [tokens + 1]
  // Of a plan that a graph replays: tiles of its launch, the lists hold fewer. 0: no such plan.
  int64_t padded_tiles = 0;
};
// `replayed`: each sequence has one token, and the launch depends on their number alone.
int SplitFlashPaged(const FlashPagedLaunch& launch, int64_t multiprocessors, bool replayed, FlashPagedSplit* split,
                    std::string* message);
int RunFlashPaged(Stream stream, const FlashPagedLaunch& launch, const FlashPagedPlan& plan, std::string* message);

struct FlashMlaLaunch {
  DType dtype = DType::kBF16;
  const void *q_lat = nullptr, *q_pe = nullptr, *cache = nullptr, *rope_key = nullptr;
  void* out = nullptr;
  int64_t heads = 0, sequences = 0, block_tokens = 0;
  int64_t q_lat_token = 0, q_lat_head = 0, q_pe_token = 0, q_pe_head = 0, cache_block = 0, cache_token = 0;
  int64_t out_token = 0, out_head = 0;
  const int32_t *host_query_start = nullptr, *host_context_lens = nullptr;
  float scale = 1;
  // Filled in by the backend.
  const int32_t* host_first_page = nullptr;
  const int32_t* page_indices = nullptr;                      // device
  void *float_workspace = nullptr, *int_workspace = nullptr;  // device
};
// Bytes of the workspaces on a device with so many multiprocessors.
// As MLAPlan lays them out: partial sums of two tiles for each multiprocessor; nine lists of kFlashMlaMaxWork numbers
// and five of one number for each multiprocessor.
constexpr int64_t FlashMlaFloatBytes(int64_t multiprocessors) {
  return 2 * multiprocessors * kFlashMlaTile * (2 * kFlashMlaLatent + int64_t{sizeof(float)}) + 64;
}
constexpr int64_t FlashMlaIntBytes(int64_t multiprocessors) {
  return (9 * kFlashMlaMaxWork + 5 * multiprocessors) * int64_t{sizeof(int32_t)} + 14 * 16;
}

// Who computes what. Each of blocks_y groups of blocks_x blocks works through its pieces, [first_work[g],
// first_work[g + 1]), each a tile of a sequence's packed query rows and a range of its keys; then blocks merge the
// partial sums of tiles whose keys were split. Lists are offsets in bytes into int_workspace, those of the partial sums
// into float_workspace.
struct FlashMlaPlan {
  int64_t blocks_x = 0, blocks_y = 0;
  int64_t q_first = 0, kv_first = 0;  // the sequence's first token, first page
  int64_t partial_first = 0;          // where its partial sum goes; -1: the piece is whole
  int64_t q_len = 0, kv_len = 0;      // of the sequence
  int64_t q_start = 0, kv_start = 0, kv_end = 0, first_work = 0;
  int64_t merge_start = 0, merge_end = 0, merge_partial_start = 0, merge_partial_end = 0, merge_stride = 0;  // by block
  int64_t partial_sums = 0, partial_logarithms = 0;
};
// FlashInfer's own plan; its lists are left in `ints`, on the host, where the plan says.
int PlanFlashMlaRun(const FlashMlaLaunch& launch, int64_t multiprocessors, FlashMlaPlan* plan,
                    std::vector<int32_t>* ints, std::string* message);
int RunFlashMla(Stream stream, const FlashMlaLaunch& launch, const FlashMlaPlan& plan, std::string* message);

}  // namespace hadal::kernels::cuda
