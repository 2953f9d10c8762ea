// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"

namespace hadal::kv_events {

// Encodes events as vLLM publishes them and llm-d's precise prefix routing reads them: MessagePack of
//
//   [unix seconds, [event, ...], data parallel rank]
//   ["BlockStored", [hash, ...], parent hash or nil, [token, ...], block size, nil, "GPU"]
//   ["BlockStored", [hash, ...], nil, [token, ...], block size, nil, "GPU", nil, [[salt], nil, ...]]
//   ["BlockRemoved", [hash, ...], "GPU"]
//   ["AllBlocksCleared"]
//
// Positional arrays with trailing defaults left out: the form that every version of vLLM's readers takes. Blocks stored
// one behind the other make one event, and so do blocks removed together. Not thread-safe.
class EventBatch {
 public:
  // `salt`: the cache_salt of a first block's prompt; empty: it has none.
  void Stored(uint64_t hash, std::optional<uint64_t> parent, absl::Span<const int32_t> tokens,
              std::string_view salt = {});
  void Removed(uint64_t hash);
  void Cleared();

  bool empty() const { return events_ == 0 && open_ == Open::kNone; }
  // What is encoded by now, about.
  size_t bytes() const { return encoded_.size() + 5 * tokens_.size() + 9 * hashes_.size(); }
  // The batch's message, and begins the next one.
  std::string Finish(double unix_seconds);

 private:
  enum class Open : uint8_t { kNone, kStored, kRemoved };
  // Encodes the event that could still grow.
  void Close();

  std::string encoded_;  // events
  size_t events_ = 0;

  Open open_ = Open::kNone;
  std::vector<uint64_t> hashes_;
  std::optional<uint64_t> parent_;  // of the first block
  std::string salt_;                // of the first block
  std::vector<int32_t> tokens_;
  size_t block_tokens_ = 0;
};

}  // namespace hadal::kv_events
