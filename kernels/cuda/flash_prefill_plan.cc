// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/flash_prefill_plan.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>
#include <utility>

#include "kernels/cuda/flash_plan.h"

namespace hadal::kernels::cuda {
namespace {

constexpr int64_t kElementBytes = 2;  // of bf16 and f16

// A tile of queries and the sequence's lengths and places.
struct Piece {
  int32_t head = 0, query_tile = 0, query_first = 0, key_first = 0, query_count = 0, key_count = 0, sequence = 0;
};

// Keys that the last query of a tile sees, counted as FlashInfer does, and its queries weigh twice.
int64_t Cost(int64_t query_count, int64_t key_count, int64_t tile) {
  const int64_t end = std::min((tile + 1) * kFlashPrefillTile, query_count);
  return 2 * kFlashPrefillTile + key_count - query_count + end;
}

}  // namespace

std::optional<FlashPrefillLaunch> PlanFlashPrefill(const MlaPrefillParams& p) {
  const DType dtype = p.q_nope.dtype;
  if (dtype != DType::kBF16 && dtype != DType::kF16) return std::nullopt;
  for (const TensorView* view : {&p.q_pe, &p.k_nope, &p.k_pe, &p.v, &p.out}) {
    if (view->dtype != dtype) return std::nullopt;
  }
  if (p.q_nope.size(2) != kFlashPrefillNope || p.q_pe.size(2) != kFlashPrefillRope) return std::nullopt;
  if (p.v.size(2) != kFlashPrefillValue || p.batch.tokens() == 0 || p.q_nope.size(1) == 0) return std::nullopt;
  const auto* rope = static_cast<const char*>(p.q_nope.data) + kFlashPrefillNope * kElementBytes;
  if (p.q_pe.data != rope || p.q_pe.stride(0) != p.q_nope.stride(0) || p.q_pe.stride(1) != p.q_nope.stride(1)) {
    return std::nullopt;
  }
  if (p.out.data == p.q_nope.data) return std::nullopt;
  for (const TensorView* view : {&p.q_nope, &p.k_nope, &p.k_pe, &p.v, &p.out}) {
    if (!FlashAligned(*view) || view->size(0) > std::numeric_limits<int32_t>::max()) return std::nullopt;
  }
  FlashPrefillLaunch launch;
  launch.dtype = dtype;
  launch.q = p.q_nope.data;
  launch.v = p.v.data;
  launch.out = p.out.data;
  launch.tokens = p.q_nope.size(0);
  launch.kv_tokens = p.v.size(0);
  launch.heads = p.q_nope.size(1);
  launch.q_token = p.q_nope.stride(0);
  launch.q_head = p.q_nope.stride(1);
  launch.v_token = p.v.stride(0);
  launch.v_head = p.v.stride(1);
  launch.out_token = p.out.stride(0);
  launch.out_head = p.out.stride(1);
  launch.scale = p.scale;
  return launch;
}

int64_t PrefillKeyBytes(int64_t heads, int64_t kv_tokens) {
  return heads * kv_tokens * kFlashPrefillKey * kElementBytes;
}

int64_t PrefillHeadsAtOnce(int64_t heads, int64_t kv_tokens) {
  int64_t at_once = heads;
  while (at_once > 1 && (heads % at_once != 0 || PrefillKeyBytes(at_once, kv_tokens) > kPrefillKeyBytes)) --at_once;
  return at_once;
}

FlashPrefillLists PlanPrefillWork(const RaggedBatch& batch, int64_t heads, int64_t multiprocessors) {
  std::vector<Piece> sequences;
  int32_t key_first = 0;
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const int32_t first = batch.host_query_start[s], count = batch.host_query_start[s + 1] - first;
    const int32_t keys = batch.host_context_lens[s];
    if (count > 0) sequences.push_back({0, 0, first, key_first, count, keys, static_cast<int32_t>(s)});
    key_first += keys;
  }
  std::stable_sort(sequences.begin(), sequences.end(),
                   [](const Piece& a, const Piece& b) { return a.key_count > b.key_count; });

  using Load = std::pair<int64_t, int64_t>;  // what a block has to do, and its number
  std::vector<Load> idle;
  for (int64_t block = 0; block < multiprocessors; ++block) idle.push_back({0, block});
  std::priority_queue<Load, std::vector<Load>, std::greater<>> loads(std::greater<>(), std::move(idle));
  std::vector<std::vector<Piece>> of_blocks(static_cast<size_t>(multiprocessors));
  for (int64_t head = 0; head < heads; ++head) {
    for (Piece piece : sequences) {
      piece.head = static_cast<int32_t>(head);
      for (int64_t tile = (piece.query_count - 1) / kFlashPrefillTile; tile >= 0; --tile) {
        piece.query_tile = static_cast<int32_t>(tile);
        const auto [load, block] = loads.top();
        loads.pop();
        of_blocks[static_cast<size_t>(block)].push_back(piece);
        loads.push({load + Cost(piece.query_count, piece.key_count, tile), block});
      }
    }
  }

  FlashPrefillLists lists;
  std::vector<int32_t> first_work = {0};
  for (const std::vector<Piece>& pieces : of_blocks) {
    first_work.push_back(first_work.back() + static_cast<int32_t>(pieces.size()));
  }
  const auto append = [&](int32_t Piece::*member) {
    std::vector<int32_t> list;
    list.reserve(static_cast<size_t>(first_work.back()));
    for (const std::vector<Piece>& pieces : of_blocks) {
      for (const Piece& piece : pieces) list.push_back(piece.*member);
    }
    return AppendList(list, lists.words);
  };
  FlashPrefillPlan& plan = lists.plan;
  plan.first_work = AppendList(first_work, lists.words);
  plan.head = append(&Piece::head);
  plan.query_tile = append(&Piece::query_tile);
  plan.query_first = append(&Piece::query_first);
  plan.key_first = append(&Piece::key_first);
  plan.query_count = append(&Piece::query_count);
  plan.key_count = append(&Piece::key_count);
  plan.sequence = append(&Piece::sequence);
  return lists;
}

}  // namespace hadal::kernels::cuda
