// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"
#include "server/engine/block_events.h"

namespace hadal::kv_events {

// A sequence of engine::BlockEvents calls, without an allocation per event.
struct BlockEventList {
  enum class Kind : uint8_t { kStored, kRemoved, kReset };
  struct Event {
    Kind kind = Kind::kStored;
    uint64_t node = 0;
    uint64_t parent = 0;
    uint64_t salt = 0;
    size_t tokens = 0;  // kStored: how many of `tokens` are its
  };
  std::vector<Event> events;
  std::vector<int32_t> tokens;  // of the stored blocks, in their order

  void Append(const BlockEventList& more);
  void Clear();
};

// Passes events from an engine's thread to the publisher's. The engine collects a round's events without a lock and
// hands them over at its end, holding a lock for a copy. On overflow, events are dropped until the publisher has caught
// up; then the prefix cache reports its complete content, so the publisher misses only the intermediate states.
// Thread-safe: one engine, one reader.
class BlockEventQueue final : public engine::BlockEvents {
 public:
  // `limit`: events that may wait; at least the blocks of the engine's pool and one more, or telling all never ends.
  // `notify` is called, on the engine's thread, when the queue is no longer empty; it must not block. `on_overflow`
  // when events begin to be dropped.
  BlockEventQueue(size_t limit, std::function<void()> notify, std::function<void()> on_overflow)
      : limit_(limit), notify_(std::move(notify)), on_overflow_(std::move(on_overflow)) {}

  void OnStored(uint64_t node, uint64_t parent, uint64_t salt, absl::Span<const int32_t> tokens) override;
  void OnRemoved(uint64_t node) override;
  void OnReset() override;
  bool EndRound() override;

  // Everything that waits; for the reader.
  BlockEventList Take();

 private:
  const size_t limit_;
  const std::function<void()> notify_;
  const std::function<void()> on_overflow_;

  // The engine's.
  BlockEventList round_;
  bool lost_ = false;

  base::Mutex mutex_;
  BlockEventList waiting_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hadal::kv_events
