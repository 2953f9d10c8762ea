// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <queue>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "server/admission/wait_forecast.h"
#include "server/request/request.h"

namespace hadal::admission {

// When a client returns, relative to the time it was told.
enum class ReturnTiming : uint8_t {
  kNone,      // no promise is known: a first attempt, or a surplus one
  kEarly,     // before its window
  kInWindow,  // the promised capacity is held for it
  kLate,      // after its window, within kRememberLate
};

// A place, and KV blocks, promised to a refused client.
struct Promise {
  uint64_t key = 0;    // identifies the client
  uint64_t owner = 0;  // RetryCaller::owner
  request::Priority priority = request::Priority::kNormal;
  int64_t blocks = 0;
  absl::Time told;      // when it was refused
  absl::Duration lead;  // how long before its return the place is already held
  absl::Time due;       // when it was told to return
  absl::Time whole;     // the same rounded up to whole seconds, as in Retry-After; not before `due`
  absl::Time end;       // end of its window; not before `whole`
};

// How recognisable a returning client is.
enum class KeyQuality : uint8_t {
  kFirst,   // shared key, and the client states that this is its first attempt: it has no promise
  kOwn,     // unique to this request: idempotency key, ticket
  kRetry,   // shared key, but the client states that it has tried before
  kShared,  // shared key, and it may be a first attempt
};

// Future capacity promised to refused clients, and the clients that return for it. Clients return exactly when told, to
// the millisecond or at the whole second. A place is held around these two moments, in proportion to how many clients
// have been seen to return then, and not between them. Memory is bounded: after kMaxPromises, Add fails. Every
// operation takes O(1) or O(log promises). Not thread-safe.
class PromiseLedger {
 public:
  static constexpr size_t kMaxPromises = 1 << 15;
  static constexpr absl::Duration kRememberLate = absl::Seconds(10);
  // A client with a shared key is recognised only within this time after a moment that it was told.
  static constexpr absl::Duration kSharedKeyTolerance = absl::Milliseconds(150);

  struct Amount {
    double places = 0;
    double blocks = 0;
  };

  // How long a place is held after each of the two moments.
  static constexpr absl::Duration kTail = absl::Milliseconds(250);

  // Returns a number that identifies the promise, never 0; or 0 if the ledger is full.
  uint64_t Add(const Promise& promise, absl::Time now);
  struct Found {
    ReturnTiming timing = ReturnTiming::kNone;
    int32_t index = -1;  // good until the next call that changes the ledger
  };
  // The promise of a returning client. Several under its key: the one whose window ends first. kEarly for own keys
  // only.
  Found Find(uint64_t key, KeyQuality quality, absl::Time now);
  // The same by the promise's number; nothing once it was removed or is forgotten. kEarly before its window.
  Found FindNumber(uint64_t number, absl::Time now);
  uint64_t NumberOf(const Found& found) const { return NumberOf(found.index); }
  const Promise& promise(const Found& found) const { return nodes_[found.index].promise; }
  // The promise was kept, or replaced by a new one.
  void Remove(const Found& found);
  // Its client will not return, for a reason that must not count in return_share().
  void Withdraw(const Found& found) { Free(found.index); }
  // Opens and ends windows. Called by the others; alone by whoever reads counts long after.
  void Advance(absl::Time now);

  // The capacity to hold now for clients of that class and more urgent ones that may return: the expected number, not
  // rounded.
  Amount Held(request::Priority priority) const;
  // Promised and due before the last Advance, and `bucket` quarters of a second after it, of that class and more urgent
  // ones.
  Amount Overdue(request::Priority priority) const;
  Amount InBucket(request::Priority priority, int bucket) const;

  // Share of the promises whose client returns in its window, decayed over about a hundred; 1 at first.
  double return_share() const { return return_share_.value; }
  size_t size() const { return live_; }

 private:
  // kAtDue and kAtWhole: a place is held. Between them, and after kAtWhole to the end, kBetween.
  enum class State : uint8_t { kFree, kPending, kAtDue, kBetween, kAtWhole, kOver };
  struct Node {
    Promise promise;
    State state = State::kFree;
    bool held_twice = false;  // kAtWhole was, or is now
    uint32_t generation = 0;
    int64_t bucket = 0;
    int32_t previous = -1, next = -1;  // in its key's list of that kind
  };
  struct List {
    int32_t first = -1, last = -1;
  };
  struct Lists {
    std::array<List, 3> of;  // pending, in their window, over
  };
  struct Event {
    absl::Time at;
    int32_t index;
    uint32_t generation;
    bool operator>(const Event& other) const { return at > other.at; }
  };
  using PerClass = std::array<Amount, request::kNumPriorities>;
  // The share of decided promises that were taken. The prior is weak, so that clients that never return are noticed
  // after about ten promises; later it is an average over about a hundred.
  struct Share {
    double value = 1;
    double weight = 8;
    void Learn(bool taken) {
      weight = std::min(weight + 1, 100.0);
      value += ((taken ? 1.0 : 0.0) - value) / weight;
    }
  };
  static constexpr int kRing = kForecastBuckets + 40;

  uint64_t NumberOf(int32_t index) const {
    return uint64_t{nodes_[index].generation} << 32 | (static_cast<uint32_t>(index) + 1);
  }
  static Amount SumUpTo(const PerClass& amounts, request::Priority priority);
  static int ListOf(State state);
  void Link(int32_t index, State state);
  void Unlink(int32_t index);
  // Leaves the books and its lists, and is free.
  void Free(int32_t index);
  void SetState(int32_t index, State state);
  void CountInBucket(const Node& node, double sign);
  // The time of a node's state is over.
  void Next(int32_t index);
  PerClass* HeldIn(State state);

  std::vector<Node> nodes_;
  std::vector<int32_t> free_;
  size_t live_ = 0;
  absl::flat_hash_map<uint64_t, Lists> by_key_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::array<PerClass, kRing> ring_ = {};
  PerClass overdue_ = {};  // due in buckets that are past
  PerClass held_at_due_ = {};
  PerClass held_at_whole_ = {};
  int64_t bucket_ = 0;  // of the last Advance
  Share return_share_;
  Share share_at_due_;    // of all, who return then
  Share share_at_whole_;  // of those who did not return before, who return then
};

}  // namespace hadal::admission
