// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/flash_plan.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace hadal::kernels::cuda {
namespace {

constexpr int64_t kVectorBytes = 16;  // of FlashInfer's loads and stores

bool HalfType(DType dtype) { return dtype == DType::kBF16 || dtype == DType::kF16; }

bool FitsInt32(int64_t value) { return value <= std::numeric_limits<int32_t>::max(); }

// FlashInfer multiplies a token's number and a head's by their strides in 32 bits. (It counts blocks of a cache in 64.)
bool RowsFitInt32(const TensorView& view) {
  return FitsInt32(view.size(0) * view.stride(0) + view.size(1) * view.stride(1));
}

// Packed rows of a tile: FlashInfer's plan pairs blocks of 64 rows when the sequences have more than 64 on average, the
// fixed plan always.
int64_t MlaTile(const RaggedBatch& batch, int64_t heads, bool batch_invariant) {
  constexpr int64_t kBlockRows = 64;
  const bool paired = batch_invariant || batch.tokens() * heads / batch.sequences() > kBlockRows;
  return paired ? 2 * kBlockRows : kBlockRows;
}

}  // namespace

// Also when there is one row, so that the number of rows does not choose the kernel.
bool FlashAligned(const TensorView& view) {
  if (reinterpret_cast<uintptr_t>(view.data) % kVectorBytes != 0) return false;
  for (int d = 0; d + 1 < view.rank; ++d) {
    if (view.strides[d] < 0 || view.strides[d] > std::numeric_limits<int32_t>::max()) return false;
    if (view.strides[d] * DTypeBytes(view.dtype) % kVectorBytes != 0) return false;
  }
  return true;
}

std::optional<FlashPages> PlanPages(const RaggedBatch& batch, int64_t block_tokens) {
  FlashPages pages;
  pages.first_page.push_back(0);
  int64_t sum = 0;
  for (int32_t context : batch.host_context_lens) {
    const int64_t count = (context + block_tokens - 1) / block_tokens;
    sum += count;
    // FlashInfer counts token positions of the whole list in 32 bits.
    if (!FitsInt32(sum * block_tokens)) return std::nullopt;
    pages.first_page.push_back(static_cast<int32_t>(sum));
    pages.last_page_tokens.push_back(count == 0 ? 0 : static_cast<int32_t>(context - (count - 1) * block_tokens));
  }
  return pages;
}

std::optional<FlashPagedLaunch> PlanFlashPaged(const PagedAttentionParams& p) {
  const DType dtype = p.q.dtype;
  const int64_t head_dim = p.q.size(2);
  if (!HalfType(dtype) || p.k_cache.dtype != dtype || p.out.dtype != dtype) return std::nullopt;
  if ((head_dim != 64 && head_dim != 128) || p.v_cache.size(3) != head_dim) return std::nullopt;
  if (p.batch.tokens() == 0 || p.q.size(1) == 0) return std::nullopt;
  if (!p.out.contiguous() || p.out.data == p.q.data) return std::nullopt;
  if (!FlashAligned(p.q) || !FlashAligned(p.k_cache) || !FlashAligned(p.v_cache) || !FlashAligned(p.out))
    return std::nullopt;
  if (!RowsFitInt32(p.q) || !RowsFitInt32(p.out)) return std::nullopt;
  FlashPagedLaunch launch;
  launch.dtype = dtype;
  launch.head_dim = head_dim;
  launch.q = p.q.data;
  launch.k = p.k_cache.data;
  launch.v = p.v_cache.data;
  launch.out = p.out.data;
  launch.tokens = p.q.size(0);
  launch.heads = p.q.size(1);
  launch.kv_heads = p.k_cache.size(2);
  launch.sequences = p.batch.sequences();
  launch.block_tokens = p.k_cache.size(1);
  launch.q_token = p.q.stride(0);
  launch.q_head = p.q.stride(1);
  for (int d = 0; d < 3; ++d) {
    launch.k_strides[d] = p.k_cache.stride(d);
    launch.v_strides[d] = p.v_cache.stride(d);
  }
  launch.query_start = p.batch.query_start.as<const int32_t>();
  launch.host_query_start = p.batch.host_query_start.data();
  launch.scale = p.scale;
  return launch;
}

std::optional<FlashMlaLaunch> PlanFlashMla(const MlaAttentionParams& p, bool batch_invariant) {
  const DType dtype = p.q_lat.dtype;
  const int64_t latent = p.q_lat.size(2);
  if (!HalfType(dtype) || p.cache.dtype != dtype || p.o_lat.dtype != dtype) return std::nullopt;
  if (latent != kFlashMlaLatent || p.q_pe.size(2) != kFlashMlaRope) return std::nullopt;
  if (p.batch.tokens() == 0 || p.q_lat.size(1) == 0) return std::nullopt;
  if (MlaTile(p.batch, p.q_lat.size(1), batch_invariant) % p.q_lat.size(1) != 0) return std::nullopt;
  if (p.selected.present()) return std::nullopt;  // FlashInfer takes pages, not single positions
  if (!FitsInt32(p.q_lat.size(0) * p.q_lat.size(1))) return std::nullopt;  // packed rows are counted in 32 bits
  if (!FlashAligned(p.q_lat) || !FlashAligned(p.q_pe) || !FlashAligned(p.cache) || !FlashAligned(p.o_lat))
    return std::nullopt;
  if (!RowsFitInt32(p.q_lat) || !RowsFitInt32(p.q_pe) || !RowsFitInt32(p.o_lat)) return std::nullopt;
  FlashMlaLaunch launch;
  launch.dtype = dtype;
  launch.q_lat = p.q_lat.data;
  launch.q_pe = p.q_pe.data;
  launch.cache = p.cache.data;
  launch.rope_key = p.cache.Slice(2, latent, kFlashMlaRope).data;
  launch.out = p.o_lat.data;
  launch.heads = p.q_lat.size(1);
  launch.sequences = p.batch.sequences();
  launch.block_tokens = p.cache.size(1);
  launch.q_lat_token = p.q_lat.stride(0);
  launch.q_lat_head = p.q_lat.stride(1);
  launch.q_pe_token = p.q_pe.stride(0);
  launch.q_pe_head = p.q_pe.stride(1);
  launch.cache_block = p.cache.stride(0);
  launch.cache_token = p.cache.stride(1);
  launch.out_token = p.o_lat.stride(0);
  launch.out_head = p.o_lat.stride(1);
  launch.host_query_start = p.batch.host_query_start.data();
  launch.host_context_lens = p.batch.host_context_lens.data();
  launch.scale = p.scale;
  return launch;
}

int64_t AppendList(const std::vector<int32_t>& list, std::vector<int32_t>& words) {
  words.resize((words.size() + 3) / 4 * 4);
  const int64_t at = static_cast<int64_t>(words.size() * sizeof(int32_t));
  words.insert(words.end(), list.begin(), list.end());
  return at;
}

FlashPagedLists LayOutPaged(const FlashPagedSplit& split, int64_t heads, int64_t kv_heads, int64_t head_dim) {
  FlashPagedLists lists;
  FlashPagedPlan& plan = lists.plan;
  const auto tiles = static_cast<int64_t>(split.sequence.size());
  plan.tiles = std::max(tiles, split.padded_tiles);
  plan.tile_rows = split.tile_rows;
  const auto append = [&](std::vector<int32_t> of_tiles) {
    of_tiles.resize(static_cast<size_t>(plan.tiles));
    return AppendList(of_tiles, lists.words);
  };
  plan.sequence = append(split.sequence);
  plan.query_tile = append(split.query_tile);
  plan.key_tile = append(split.key_tile);
  plan.first_row = AppendList(split.first_row, lists.words);
  plan.chunk = AppendList({static_cast<int32_t>(split.chunk_tokens)}, lists.words);
  plan.split = split.split;
  if (split.padded_tiles > 0) {
    std::vector<int32_t> valid(static_cast<size_t>((plan.tiles + 3) / 4));  // a byte each, 1: more than padding
    std::memset(valid.data(), 1, static_cast<size_t>(tiles));
    plan.valid_tiles = AppendList(valid, lists.words);
    plan.row_count = AppendList({static_cast<int32_t>(split.merge_first.size()) - 1}, lists.words);
  }
  if (!split.split) return lists;
  plan.merge_first = AppendList(split.merge_first, lists.words);
  // One row of partial sums for a token and a piece of its keys, every query head. No tile has more than tile_rows of
  // them, a row and a head of its group each.
  const int64_t group = heads / kv_heads;
  const int64_t rows = (plan.tiles * split.tile_rows + group - 1) / group;
  const int64_t sum_bytes = (heads * rows * head_dim * int64_t{sizeof(float)} + 15) / 16 * 16;
  plan.partial_sums = 0;
  plan.partial_logarithms = sum_bytes;
  lists.float_bytes = sum_bytes + heads * rows * int64_t{sizeof(float)};
  return lists;
}

FlashMlaLists CompactMla(const std::vector<int32_t>& ints, const FlashMlaPlan& plan, int64_t least_pieces) {
  FlashMlaLists lists;
  lists.plan = plan;
  const auto move = [&](int64_t& at, int64_t count, int64_t least) {
    const auto first = ints.begin() + at / int64_t{sizeof(int32_t)};
    std::vector<int32_t> list(first, first + count);
    list.resize(static_cast<size_t>(std::max(count, least)));
    at = AppendList(list, lists.words);
  };
  const int64_t groups = plan.blocks_y, blocks = plan.blocks_x * plan.blocks_y;
  const int64_t pieces = ints[static_cast<size_t>(plan.first_work / int64_t{sizeof(int32_t)} + groups)];
  FlashMlaPlan& p = lists.plan;
  for (int64_t* list :
       {&p.q_first, &p.kv_first, &p.partial_first, &p.q_len, &p.kv_len, &p.q_start, &p.kv_start, &p.kv_end}) {
    move(*list, pieces, least_pieces);
  }
  move(p.first_work, groups + 1, 0);
  for (int64_t* list : {&p.merge_start, &p.merge_end, &p.merge_partial_start, &p.merge_partial_end, &p.merge_stride}) {
    move(*list, blocks, 0);
  }
  return lists;
}

int64_t FlashMlaWorkBound(const RaggedBatch& batch, int64_t heads, int64_t multiprocessors) {
  constexpr int64_t kTile = 64;
  int64_t tiles = 0;
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const int64_t rows = (int64_t{batch.host_query_start[s + 1]} - batch.host_query_start[s]) * heads;
    tiles += (rows + kTile - 1) / kTile;
  }
  return tiles + multiprocessors;  // splitting the keys adds at most one piece a cluster
}

}  // namespace hadal::kernels::cuda
