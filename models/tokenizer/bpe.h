// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "models/tokenizer/vocabulary.h"

namespace hadal::tokenizer {

// Byte-pair encoding of one piece of text: from single bytes, or from characters, the adjacent pair with the lowest
// merge rank (leftmost of equal ones) is merged until no pair is mergeable. Filled by the loader, immutable and
// thread-safe afterwards (it remembers which tokens are their own encoding, with relaxed atomics). Shares the
// vocabulary, which must outlive it.
class Bpe {
 public:
  struct Options {
    bool ignore_merges = false;  // a piece that is a token is that token, whatever the merges say
    int32_t unk_id = -1;         // for bytes without a token; -1 leaves them out
    bool fuse_unk = false;       // one unk for a run of such bytes
    // Pieces begin as characters. One without a token becomes its bytes' tokens where SetByteIds gave them.
    bool characters = false;
  };

  // Buffers of one Encode call.
  struct Scratch {
    struct Symbol {
      int32_t id;
      int32_t previous;
      int32_t next;
      bool removed;
    };
    struct Candidate {
      uint32_t rank;
      uint32_t position;
      int32_t merged_id;
    };
    std::vector<int32_t> ids;
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  Bpe(const Vocabulary* vocabulary, Options options);

  void ReserveMerges(size_t count);
  // The next merge, in order of rank. False when the pair has one already.
  bool AddMerge(int32_t left, int32_t right, int32_t merged);
  // With Options::characters: the tokens of all 256 bytes.
  void SetByteIds(const int32_t (&ids)[256]);
  // To be called once, after the last merge and after the vocabulary's flags are set.
  void Finish();

  // Appends the ids of `piece`. `allow_control` false: no token with the control flag is ever made, merges through one
  // included.
  void Encode(std::string_view piece, bool allow_control, Scratch* scratch, std::vector<int32_t>* ids) const;

  int32_t ByteId(unsigned char byte) const { return byte_ids_[byte]; }

 private:
  struct Merge {
    uint32_t left = 0;
    uint32_t right = 0;
    uint32_t rank = kNoRank;
    int32_t merged = -1;
  };
  enum TokenState : uint8_t { kUnknown, kOwnEncoding, kOtherEncoding };

  static constexpr uint32_t kNoRank = 0xFFFFFFFF;
  static constexpr size_t kShortPiece = 128;

  const Merge& FindMerge(int32_t left, int32_t right, bool allow_control) const;
  void InitialSymbols(std::string_view piece, std::vector<int32_t>* ids) const;
  void CharacterSymbols(std::string_view piece, std::vector<int32_t>* ids) const;
  void MergeShort(std::vector<int32_t>* ids, bool allow_control) const;
  void MergeLong(Scratch* scratch, bool allow_control) const;

  const Vocabulary* vocabulary_;
  Options options_;
  int32_t byte_ids_[256];      // -1: none
  std::vector<Merge> merges_;  // open addressing, a power of two, at most half full
  std::vector<uint64_t>
      merge_filter_;  // a bit for each hash that a merge has: small enough for the cache, where merges_ is not
  size_t merge_count_ = 0;
  bool unique_merges_ = true;  // no two merges give the same token
  bool has_control_merges_ = false;
  // [vocabulary size], or twice that with has_control_merges_ (the second half for allow_control false)
  std::unique_ptr<std::atomic<uint8_t>[]> states_;
};

}  // namespace hadal::tokenizer
