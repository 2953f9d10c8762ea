// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"
#include "server/http/http_metrics.h"

namespace hadal::http {

// The state of each open connection, so that waiting ones can be evicted when there are too many. Order of eviction:
//   1. silent and closing connections, and those idle for kMinWait, which hold no request: the longest in this state.
//   2. connections in the middle of a head or a body without a byte for kMinWait: of the network that has most of them,
//      the one that has waited longest.
// Busy connections, and clients that send one request after another, are never evicted. Silent and closing connections
// occupy no place: they are evicted when descriptors run out (MakeRoom), not when places do (MakePlace).
// Thread-safe; outlives its handles.
class ConnectionTable {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // In the order of kConnectionPhases.
  enum class Phase : uint8_t {
    kSilent,   // its protocol is not known yet
    kIdle,     // kept, between requests
    kHead,     // a head is arriving
    kBody,     // a body is arriving
    kBusy,     // a request is being answered
    kClosing,  // its last response has been sent; what still comes is read away
  };
  static constexpr std::chrono::seconds kMinWait{1};
  static constexpr std::chrono::milliseconds kMinSilence{100};

 private:
  struct Entry {
    std::string network;
    std::function<void()> close;
    TimePoint since;
    Phase phase = Phase::kSilent;
    bool evicted = false;
  };
  using Entries = std::list<Entry>;

 public:
  // A connection's place. Move-only RAII; used by one thread at a time.
  class Handle {
   public:
    Handle() = default;  // no place: everything below does nothing
    Handle(Handle&& other) noexcept { *this = std::move(other); }
    Handle& operator=(Handle&& other) noexcept;
    ~Handle() { Release(); }

    // From now on `close` ends the connection, instead of the one that was given first.
    void SetClose(std::function<void()> close);
    void Enter(Phase phase, TimePoint now);
    // A byte has come.
    void Touch(TimePoint now);
    void Release();

   private:
    friend class ConnectionTable;
    ConnectionTable* table_ = nullptr;
    Entries::iterator entry_;
  };

  explicit ConnectionTable(HttpMetrics* metrics) : metrics_(metrics) {}

  // `network` is where the client comes from (base::PeerNetwork). `close` is called by MakeRoom, on its thread and at
  // most once; it may find the connection gone.
  Handle Add(std::string network, std::function<void()> close, TimePoint now);

  // Ends one connection by the rules above; false when none gives way. Its descriptor is free once it has been closed.
  // Silent ones stay until they have been silent for `min_silence`: who has just connected may be about to send.
  bool MakeRoom(TimePoint now, std::chrono::milliseconds min_silence = {});
  // Whether at most `max_places` connections hold a place. If there are more, one of them may be ended for that; those
  // that have been told to end count no more.
  bool MakePlace(int64_t max_places, TimePoint now);
  // Connections that have been told to end and have not ended.
  int64_t ending() const;

 private:
  static bool HoldsNoRequest(const Entry& entry, TimePoint now, std::chrono::milliseconds min_silence);
  static bool WaitsForBytes(const Entry& entry, TimePoint now);
  static bool HoldsPlace(const Entry& entry);
  int64_t Places() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The connection that gives way, or end(). `of_places`: among those that hold one.
  Entries::iterator Choose(bool of_places, TimePoint now, std::chrono::milliseconds min_silence)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Marks the chosen one and returns its closer, to be called without the lock; null when none gives way.
  std::function<void()> Evict(bool of_places, TimePoint now, std::chrono::milliseconds min_silence)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  HttpMetrics* const metrics_;
  mutable base::Mutex mutex_;
  Entries entries_ ABSL_GUARDED_BY(mutex_);
  int64_t ending_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace hadal::http
