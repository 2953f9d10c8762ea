// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <queue>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "server/admission/return_lateness.h"
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
  double places = 1;    // it takes: its client's, and those of strangers (PromiseLedger::PlacesFor)
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
//
// Under a key that many share (one address, one body length), whoever comes first would take the place, and clients
// that return when told would find it taken. In such a crowd a promise is open to everybody, but only in the few
// milliseconds after the moments in which clients have been seen to return (ReturnLateness), and places are held for
// the strangers, too, that come in that time.
class PromiseLedger {
 public:
  static constexpr size_t kMaxPromises = 1 << 15;
  static constexpr absl::Duration kRememberLate = absl::Seconds(10);
  // Outside crowds a client with a shared key is recognised within this time after a moment that it was told.
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
    int32_t index = -1;     // good until the next call that changes the ledger
    bool in_crowd = false;  // it may be another's
    bool retry = false;     // found by a KeyQuality::kRetry
  };
  // The promise of a returning client. Several under its key: the one whose window ends first. kEarly for own keys
  // only.
  Found Find(uint64_t key, KeyQuality quality, absl::Time now);
  // The same by the promise's number; nothing once it was removed or is forgotten. kEarly before its window.
  Found FindNumber(uint64_t number, absl::Time now);
  uint64_t NumberOf(const Found& found) const { return NumberOf(found.index); }
  const Promise& promise(const Found& found) const { return nodes_[found.index].promise; }
  // An arrival under a key that is not its own, once for each.
  void CountArrival(uint64_t key, KeyQuality quality, absl::Time now);
  // How many are let in for one promise of that key: 1 outside crowds.
  double PlacesFor(uint64_t key, absl::Time now) const;
  // The client was let in. In a crowd the promise stays open for the others.
  void Keep(const Found& found);
  // Its client came early and was told other moments: those of `promise`. Keeps its number.
  void Move(const Found& found, const Promise& promise, absl::Time now);
  // The promise was kept, or replaced by a new one. Not one found in a crowd.
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
    bool counted = false;     // among the moments of lateness_
    // Let in for it, in a crowd, by kind.
    std::array<int, 2> kept = {};
    int held_in = -1;         // of held_; -1: nothing is held
    double holding = 0;       // places
    double owed = 0;          // places in its bucket
    uint32_t generation = 0;  // of its number
    uint32_t events = 0;      // events of earlier ones mean nothing any more
    int64_t bucket = 0;
    int32_t previous = -1, next = -1;  // in its key's list of that kind
  };
  struct List {
    int32_t first = -1, last = -1;
  };
  // Arrivals a second, as a decayed average that starts at 0.
  struct Rate {
    double PerSecond(absl::Time now) const;
    void Count(absl::Time now);

    double value = 0;
    absl::Time updated = absl::InfinitePast();
  };
  // kShared and kRetry: other qualities belong to no crowd.
  static constexpr size_t kCrowdKinds = 2;
  struct Lists {
    std::array<List, 3> of;  // pending, in their window, over
    std::array<Rate, kCrowdKinds> arrivals;
  };
  enum Moment : uint8_t { kDue, kWhole };
  // Of a promise in a crowd: for how long after a moment it is open, and how many are expected in that time.
  struct Opening {
    absl::Duration time;
    double places = 0;
  };
  struct Event {
    absl::Time at;
    int32_t index;
    uint32_t generation;  // Node::events
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
  static size_t KindOf(KeyQuality quality) { return quality == KeyQuality::kRetry ? 1 : 0; }
  // Whether so many of that kind come that some would take the place of another; of any kind.
  static bool IsCrowd(const Lists& lists, size_t kind, absl::Time now);
  static bool IsCrowd(const Lists& lists, absl::Time now) { return IsCrowd(lists, 0, now) || IsCrowd(lists, 1, now); }
  // Whether clients of that kind return at that moment, as far as it can be told.
  bool Returns(size_t kind, Moment moment) const;
  // For how long after a moment arrivals of that kind are taken for returns.
  absl::Duration Tolerance(const Lists& lists, size_t kind, Moment moment, absl::Time now) const;
  Opening OpeningAt(const Lists& lists, Moment moment, absl::Time now) const;
  // A promise in whose moment now is: in a crowd the one for which the most is held.
  Found FindByMoment(const Lists& lists, size_t kind, bool crowd, absl::Time now) const;
  void Link(int32_t index, State state);
  void Unlink(int32_t index);
  // Leaves the books and its lists, and is free.
  void Free(int32_t index);
  void SetState(int32_t index, State state);
  // What it owes in its bucket becomes that many places.
  void Owe(int32_t index, double places);
  // Holds that many places for it, instead of what was held. `held_in`: of held_.
  void Hold(int32_t index, int held_in, double places);
  // Pending, with its present moments.
  void Schedule(int32_t index);
  void Go(int32_t index, State state, absl::Time until);
  // The time of a node's state is over.
  void Next(int32_t index, absl::Time now);
  void NextInCrowd(int32_t index, const Lists& lists, absl::Time now);
  void End(int32_t index);

  std::vector<Node> nodes_;
  std::vector<int32_t> free_;
  size_t live_ = 0;
  absl::flat_hash_map<uint64_t, Lists> by_key_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::array<PerClass, kRing> ring_ = {};
  PerClass overdue_ = {};  // due in buckets that are past
  // Held at `due`, at `whole`, and in crowds.
  static constexpr int kHeldAtDue = 0, kHeldAtWhole = 1, kHeldInCrowds = 2;
  std::array<PerClass, 3> held_ = {};
  std::array<std::array<ReturnLateness, 2>, kCrowdKinds> lateness_;  // by Moment; of all crowds
  int64_t bucket_ = 0;                                               // of the last Advance
  Share return_share_;
  Share share_at_due_;    // of all, who return then
  Share share_at_whole_;  // of those who did not return before, who return then
};

}  // namespace hadal::admission
