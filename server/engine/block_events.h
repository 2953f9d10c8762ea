// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/types/span.h"

namespace hadal::engine {

// Told by an engine's prefix cache, on the engine's thread, which full blocks it gains and loses. A block is named by
// its node in the cache's trie: a number above 0 that is never given twice, larger than its parent's. Implementations
// must not block.
class BlockEvents {
 public:
  virtual ~BlockEvents() = default;
  // The cache holds `tokens` behind the block `parent`; 0: at the beginning of prompts, of those with this `salt`,
  // which is 0 in later blocks.
  virtual void OnStored(uint64_t node, uint64_t parent, uint64_t salt, absl::Span<const int32_t> tokens) = 0;
  virtual void OnRemoved(uint64_t node) = 0;
  // What was told before counts for nothing: all that the cache holds follows.
  virtual void OnReset() = 0;
  // Ends a round of the engine. False: something was lost before, and now there is room for everything; the cache is to
  // tell all anew, from OnReset on.
  virtual bool EndRound() = 0;
};

}  // namespace hadal::engine
