// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/types/span.h"

namespace hadal::engine {

// Receives the full blocks that an engine's prefix cache gains and loses, on the engine's thread. A block is identified
// by its node in the cache's trie: a positive number that is never reused and is larger than its parent's.
// Implementations must not block.
class BlockEvents {
 public:
  virtual ~BlockEvents() = default;
  // The cache now holds `tokens` after the block `parent`, or, if that is 0, at the beginning of prompts with this
  // `salt`
  // (`salt` is 0 for later blocks).
  virtual void OnStored(uint64_t node, uint64_t parent, uint64_t salt, absl::Span<const int32_t> tokens) = 0;
  virtual void OnRemoved(uint64_t node) = 0;
  // All earlier events are void; the complete content of the cache follows.
  virtual void OnReset() = 0;
  // Ends a round of the engine. False: events were lost earlier and there is room again, so the cache must report its
  // complete content, beginning with OnReset.
  virtual bool EndRound() = 0;
};

}  // namespace hadal::engine
