// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <utility>

#include "base/utf8.h"

namespace hadal::tokenizer {
namespace {

size_t HashPair(uint32_t left, uint32_t right) {
  const uint64_t h = (uint64_t{left} << 32 | right) * 0x9E3779B97F4A7C15ull;
  return static_cast<size_t>(h >> 32);
}

}  // namespace

Bpe::Bpe(const Vocabulary* vocabulary, Options options) : vocabulary_(vocabulary), options_(options) {
  std::fill(std::begin(byte_ids_), std::end(byte_ids_), -1);
}

void Bpe::SetByteIds(const int32_t (&ids)[256]) { std::copy(std::begin(ids), std::end(ids), byte_ids_); }

void Bpe::ReserveMerges(size_t count) {
  merges_.assign(std::bit_ceil(count * 2 + 2), Merge{});
  merge_filter_.assign(std::bit_ceil(count * 16 + 64) / 64, 0);
}

bool Bpe::AddMerge(int32_t left, int32_t right, int32_t merged) {
  const auto l = static_cast<uint32_t>(left), r = static_cast<uint32_t>(right);
  const size_t hash = HashPair(l, r);
  size_t i = hash & (merges_.size() - 1);
  for (; merges_[i].rank != kNoRank; i = (i + 1) & (merges_.size() - 1)) {
    if (merges_[i].left == l && merges_[i].right == r) return false;
  }
  merges_[i] = {l, r, static_cast<uint32_t>(merge_count_++), merged};
  const size_t bit = hash & (merge_filter_.size() * 64 - 1);
  merge_filter_[bit / 64] |= uint64_t{1} << (bit % 64);
  return true;
}

void Bpe::Finish() {
  for (int b = 0; b < 256 && !options_.characters; ++b) {
    const char byte = static_cast<char>(b);
    byte_ids_[b] = vocabulary_->Find(std::string_view(&byte, 1));
  }
  std::vector<bool> made(static_cast<size_t>(vocabulary_->size()), false);
  for (const Merge& merge : merges_) {
    if (merge.rank == kNoRank) continue;
    if (made[merge.merged]) unique_merges_ = false;
    made[merge.merged] = true;
    if (vocabulary_->HasFlag(merge.merged, Vocabulary::kControl)) has_control_merges_ = true;
  }
  const size_t states = static_cast<size_t>(vocabulary_->size()) * (has_control_merges_ ? 2 : 1);
  states_ = std::make_unique<std::atomic<uint8_t>[]>(states);
}

const Bpe::Merge& Bpe::FindMerge(int32_t left, int32_t right, bool allow_control) const {
  static const Merge kNone;
  const auto l = static_cast<uint32_t>(left), r = static_cast<uint32_t>(right);
  const size_t hash = HashPair(l, r);
  const size_t bit = hash & (merge_filter_.size() * 64 - 1);
  if ((merge_filter_[bit / 64] >> (bit % 64) & 1) == 0) return kNone;
  for (size_t i = hash & (merges_.size() - 1);; i = (i + 1) & (merges_.size() - 1)) {
    const Merge& merge = merges_[i];
    if (merge.rank == kNoRank) return merge;
    if (merge.left != l || merge.right != r) continue;
    if (!allow_control && has_control_merges_ && vocabulary_->HasFlag(merge.merged, Vocabulary::kControl)) return kNone;
    return merge;
  }
}

void Bpe::InitialSymbols(std::string_view piece, std::vector<int32_t>* ids) const {
  ids->clear();
  if (options_.characters) return CharacterSymbols(piece, ids);
  bool in_unknown = false;
  for (const char c : piece) {
    const int32_t id = byte_ids_[static_cast<unsigned char>(c)];
    if (id >= 0) {
      ids->push_back(id);
      in_unknown = false;
    } else if (options_.unk_id >= 0) {
      if (!in_unknown || !options_.fuse_unk) ids->push_back(options_.unk_id);
      in_unknown = true;
    }
  }
}

void Bpe::CharacterSymbols(std::string_view piece, std::vector<int32_t>* ids) const {
  bool in_unknown = false;
  for (size_t at = 0; at < piece.size();) {
    const std::string_view character = piece.substr(at, static_cast<size_t>(base::Utf8Length(piece[at])));
    at += character.size();
    if (const int32_t id = vocabulary_->Find(character); id >= 0) {
      ids->push_back(id);
    } else if (byte_ids_[0] >= 0) {
      for (const char c : character) ids->push_back(byte_ids_[static_cast<unsigned char>(c)]);
    } else if (options_.unk_id >= 0) {
      if (!in_unknown || !options_.fuse_unk) ids->push_back(options_.unk_id);
      in_unknown = true;
      continue;
    }
    in_unknown = false;
  }
}

// The straightforward method, quadratic in the (bounded) length but without any heap. It needs unique_merges_: see
// MergeLong.
void Bpe::MergeShort(std::vector<int32_t>* ids, bool allow_control) const {
  uint32_t ranks[kShortPiece];
  int32_t merged[kShortPiece];
  int32_t* id = ids->data();
  size_t count = ids->size();
  const auto look = [&](size_t i) {
    const Merge& merge = FindMerge(id[i], id[i + 1], allow_control);
    ranks[i] = merge.rank;
    merged[i] = merge.merged;
  };
  for (size_t i = 0; i + 1 < count; ++i) look(i);
  while (count > 1) {
    const size_t pairs = count - 1;
    uint32_t best_rank = kNoRank;
    for (size_t i = 0; i < pairs; ++i) best_rank = std::min(best_rank, ranks[i]);
    if (best_rank == kNoRank) break;
    size_t best = 0;
    while (ranks[best] != best_rank) ++best;
    id[best] = merged[best];
    std::copy(id + best + 2, id + count, id + best + 1);
    if (best + 1 < pairs) {
      std::copy(ranks + best + 2, ranks + pairs, ranks + best + 1);
      std::copy(merged + best + 2, merged + pairs, merged + best + 1);
    }
    --count;
    if (best + 1 < count) look(best);
    if (best > 0) look(best - 1);
  }
  ids->resize(count);
}

// A heap of candidates over a linked list: O(n log n). A candidate is stale when its pair no longer merges to its
// token; as in Hugging Face's implementation one whose pair changed but still gives the same token is taken at the old
// rank, which can only happen when two merges give the same token.
void Bpe::MergeLong(Scratch* scratch, bool allow_control) const {
  using Candidate = Scratch::Candidate;
  auto& symbols = scratch->symbols;
  auto& heap = scratch->heap;
  const auto count = static_cast<int32_t>(scratch->ids.size());
  const auto after = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  symbols.clear();
  heap.clear();
  for (int32_t i = 0; i < count; ++i) symbols.push_back({scratch->ids[i], i - 1, i + 1 < count ? i + 1 : -1, false});
  const auto candidate = [&](int32_t position) -> Candidate {
    const Merge& merge = FindMerge(symbols[position].id, symbols[symbols[position].next].id, allow_control);
    return {merge.rank, static_cast<uint32_t>(position), merge.merged};
  };
  for (int32_t i = 0; i + 1 < count; ++i) {
    const Candidate c = candidate(i);
    if (c.rank != kNoRank) heap.push_back(c);
  }
  std::make_heap(heap.begin(), heap.end(), after);
  const auto push = [&](int32_t position) {
    const Candidate c = candidate(position);
    if (c.rank == kNoRank) return;
    heap.push_back(c);
    std::push_heap(heap.begin(), heap.end(), after);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), after);
    const Candidate top = heap.back();
    heap.pop_back();
    Scratch::Symbol& left = symbols[top.position];
    if (left.removed || left.next < 0) continue;
    const Merge& merge = FindMerge(left.id, symbols[left.next].id, allow_control);
    if (merge.rank == kNoRank || merge.merged != top.merged_id) continue;
    Scratch::Symbol& right = symbols[left.next];
    left.id = top.merged_id;
    left.next = right.next;
    right.removed = true;
    if (left.next >= 0) symbols[left.next].previous = static_cast<int32_t>(top.position);
    if (left.previous >= 0) push(left.previous);
    if (left.next >= 0) push(static_cast<int32_t>(top.position));
  }
  scratch->ids.clear();
  for (const Scratch::Symbol& symbol : symbols) {
    if (!symbol.removed) scratch->ids.push_back(symbol.id);
  }
}

void Bpe::Encode(std::string_view piece, bool allow_control, Scratch* scratch, std::vector<int32_t>* ids) const {
  const int32_t whole = vocabulary_->Find(piece);
  std::atomic<uint8_t>* state = nullptr;
  if (whole >= 0 && (allow_control || !vocabulary_->HasFlag(whole, Vocabulary::kControl))) {
    if (options_.ignore_merges) {
      ids->push_back(whole);
      return;
    }
    const bool second_half = !allow_control && has_control_merges_;
    state = &states_[static_cast<size_t>(whole) + (second_half ? static_cast<size_t>(vocabulary_->size()) : 0)];
    const uint8_t known = state->load(std::memory_order_relaxed);
    if (known == kOwnEncoding) {
      ids->push_back(whole);
      return;
    }
  }
  InitialSymbols(piece, &scratch->ids);
  if (unique_merges_ && scratch->ids.size() <= kShortPiece) {
    MergeShort(&scratch->ids, allow_control);
  } else {
    MergeLong(scratch, allow_control);
  }
  if (state != nullptr) {
    const bool own = scratch->ids.size() == 1 && scratch->ids[0] == whole;
    state->store(own ? kOwnEncoding : kOtherEncoding, std::memory_order_relaxed);
  }
  ids->insert(ids->end(), scratch->ids.begin(), scratch->ids.end());
}

}  // namespace hadal::tokenizer
