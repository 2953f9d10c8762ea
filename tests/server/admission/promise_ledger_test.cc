// SPDX-License-Identifier: Apache-2.0
#include "server/admission/promise_ledger.h"

#include <cmath>
#include <functional>
#include <map>
#include <queue>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

using request::Priority;

const absl::Time kStart = absl::FromUnixSeconds(1000);
absl::Time At(double seconds) { return kStart + absl::Seconds(seconds); }

Promise Of(uint64_t key, double due_s, int64_t blocks = 1, Priority priority = Priority::kNormal) {
  Promise promise;
  promise.key = key;
  promise.priority = priority;
  promise.blocks = blocks;
  promise.told = kStart;
  promise.lead = absl::Seconds(0.1);
  promise.due = At(due_s);
  promise.whole = At(std::ceil(due_s));
  promise.end = At(due_s + 1.5);
  return promise;
}

TEST(PromiseLedgerTest, HoldsAPlaceAroundTheMomentsThatWereTold) {
  PromiseLedger ledger;
  ASSERT_TRUE(ledger.Add(Of(7, 5.2, 3), kStart));
  EXPECT_EQ(ledger.InBucket(Priority::kNormal, 20).places, 1);
  EXPECT_EQ(ledger.InBucket(Priority::kNormal, 20).blocks, 3);
  const auto held = [&](double at) {
    ledger.Advance(At(at));
    EXPECT_EQ(ledger.Held(Priority::kHigh).places, 0) << "the more urgent need not respect it";
    EXPECT_EQ(ledger.Held(Priority::kNormal).blocks, 3 * ledger.Held(Priority::kNormal).places);
    return ledger.Held(Priority::kNormal).places;
  };
  EXPECT_EQ(held(0), 0);
  EXPECT_EQ(held(5.05), 0);
  EXPECT_EQ(held(5.15), 1);
  EXPECT_EQ(ledger.Overdue(Priority::kNormal).places, 0);
  EXPECT_EQ(held(5.4), 1);
  EXPECT_EQ(held(5.5), 0) << "it has not come to the millisecond, nor does it come before 6 s";
  EXPECT_EQ(ledger.Overdue(Priority::kNormal).places, 1) << "it is owed until it is taken";
  EXPECT_EQ(held(5.95), 1);
  EXPECT_EQ(held(6.2), 1);
  EXPECT_EQ(held(6.3), 0);
  EXPECT_EQ(ledger.Find(7, KeyQuality::kOwn, At(6.6)).timing, ReturnTiming::kInWindow) << "if there is room, it is its";
  EXPECT_EQ(held(6.7), 0);
  EXPECT_EQ(ledger.Overdue(Priority::kNormal).places, 0);
  ledger.Advance(At(17));
  EXPECT_EQ(ledger.size(), 0u);
}

TEST(PromiseLedgerTest, APromiseIsFoundByItsNumberWhoeverSharesItsKey) {
  PromiseLedger ledger;
  const uint64_t first = ledger.Add(Of(7, 5), kStart);
  const uint64_t second = ledger.Add(Of(7, 5), kStart);
  ASSERT_NE(first, 0u);
  EXPECT_NE(first, second);
  EXPECT_EQ(ledger.FindNumber(0, kStart).timing, ReturnTiming::kNone);
  EXPECT_EQ(ledger.FindNumber(first + 1000, kStart).timing, ReturnTiming::kNone);
  EXPECT_EQ(ledger.FindNumber(second, kStart).timing, ReturnTiming::kEarly);
  const PromiseLedger::Found found = ledger.FindNumber(second, At(5.05));
  EXPECT_EQ(found.timing, ReturnTiming::kInWindow);
  EXPECT_EQ(ledger.NumberOf(found), second);
  ledger.Remove(found);
  EXPECT_EQ(ledger.FindNumber(second, At(5.05)).timing, ReturnTiming::kNone) << "once";
  EXPECT_EQ(ledger.FindNumber(first, At(8)).timing, ReturnTiming::kLate);
  EXPECT_EQ(ledger.FindNumber(first, At(20)).timing, ReturnTiming::kNone);
  const uint64_t third = ledger.Add(Of(7, 30), At(20));
  EXPECT_NE(third, first) << "its memory is used again, its number is not";
  EXPECT_NE(third, second);
}

TEST(PromiseLedgerTest, LearnsWhichOfTheMomentsClientsObey) {
  PromiseLedger ledger;
  const auto add = [&](double at) {
    Promise promise = Of(7, 0);
    promise.told = At(at);
    promise.due = At(at + 5.5);
    promise.whole = At(at + 6);
    promise.end = At(at + 7);
    EXPECT_TRUE(ledger.Add(promise, At(at)));
  };
  for (int i = 0; i < 400; ++i) {
    add(20.0 * i);
    ledger.Remove(ledger.Find(7, KeyQuality::kOwn, At(20.0 * i + 6.01)));
  }
  EXPECT_NEAR(ledger.return_share(), 1, 0.02);
  for (int k = 0; k < 4; ++k) add(8000);
  ledger.Advance(At(8005.5));
  EXPECT_LE(ledger.Held(Priority::kNormal).places, 1) << "nobody comes to the millisecond";
  ledger.Advance(At(8006));
  EXPECT_EQ(ledger.Held(Priority::kNormal).places, 4);
}

TEST(PromiseLedgerTest, MomentsThatAreCloseAreHeldForTheOneThatClientsObey) {
  PromiseLedger ledger;
  const auto add = [&](double at, double due) {
    Promise promise = Of(7, 0);
    promise.told = At(at);
    promise.due = At(at + due);
    promise.whole = At(at + 6);
    promise.end = At(at + 7);
    EXPECT_TRUE(ledger.Add(promise, At(at)));
  };
  double at = 0;
  const auto return_at = [&](double due, double returned) {
    at += 20;
    add(at, due);
    ledger.Remove(ledger.Find(7, KeyQuality::kOwn, At(at + returned)));
  };
  const auto held = [&](double due, double then) {
    at += 20;
    for (int k = 0; k < 4; ++k) add(at, due);
    ledger.Advance(At(at + then));
    return ledger.Held(Priority::kNormal).places;
  };
  for (int i = 0; i < 400; ++i) return_at(5.5, 6.01);
  EXPECT_LE(held(5.85, 5.8), 1) << "nobody comes to the millisecond";
  EXPECT_NEAR(held(5.85, 5.95), 4, 0.5);
  EXPECT_NEAR(held(5.85, 6.2), 4, 0.5);
  EXPECT_NEAR(held(5.85, 6.3), 0, 0.1);
  // Others come now, before anything is held for them; they are known all the same, and it is held from then on.
  for (int i = 0; i < 400; ++i) return_at(5.85, 5.86);
  EXPECT_NEAR(held(5.85, 5.8), 4, 0.2);
  EXPECT_GT(ledger.return_share(), 0.8);
}

// A server whose clients never return must not keep places for them through its first bursts.
TEST(PromiseLedgerTest, SoonKnowsThatNobodyReturns) {
  PromiseLedger ledger;
  for (int i = 0; i < 24; ++i) ASSERT_TRUE(ledger.Add(Of(i + 1, 5.2), kStart));
  ledger.Advance(At(10));
  EXPECT_LT(ledger.return_share(), 0.3);
  for (int i = 0; i < 24; ++i) ASSERT_TRUE(ledger.Add(Of(100 + i, 15.2), At(10)));
  ledger.Advance(At(15.2));
  EXPECT_NEAR(ledger.Held(Priority::kNormal).places, 6, 1);
}

TEST(PromiseLedgerTest, KnowsWhoReturnsAndWhen) {
  for (const auto& [at, timing] : {std::pair{1.0, ReturnTiming::kEarly},
                                   {5.0, ReturnTiming::kInWindow},
                                   {6.4, ReturnTiming::kInWindow},
                                   {7.0, ReturnTiming::kLate},
                                   {17.0, ReturnTiming::kNone}}) {
    PromiseLedger ledger;
    ASSERT_TRUE(ledger.Add(Of(7, 5), kStart));
    EXPECT_EQ(ledger.Find(8, KeyQuality::kOwn, At(at)).timing, ReturnTiming::kNone);
    const PromiseLedger::Found found = ledger.Find(7, KeyQuality::kOwn, At(at));
    EXPECT_EQ(found.timing, timing) << "at " << at;
    if (found.index < 0) continue;
    EXPECT_EQ(ledger.promise(found).key, 7u);
    ledger.Remove(found);
    EXPECT_EQ(ledger.size(), 0u);
    EXPECT_EQ(ledger.Held(Priority::kBatch).places, 0);
    EXPECT_EQ(ledger.Overdue(Priority::kBatch).places, 0);
    EXPECT_EQ(ledger.InBucket(Priority::kBatch, 16).places, 0);
    EXPECT_EQ(ledger.Find(7, KeyQuality::kOwn, At(at)).timing, ReturnTiming::kNone);
  }
}

TEST(PromiseLedgerTest, WhoSharesAKeyIsBelievedOnlyAtTheTimeItWasTold) {
  const auto timing = [](double at, KeyQuality quality) {
    PromiseLedger ledger;
    EXPECT_TRUE(ledger.Add(Of(7, 4.6), kStart));
    return ledger.Find(7, quality, At(at)).timing;
  };
  EXPECT_EQ(timing(4.55, KeyQuality::kShared), ReturnTiming::kNone);
  EXPECT_EQ(timing(4.5995, KeyQuality::kShared), ReturnTiming::kInWindow) << "timers are not exact";
  EXPECT_EQ(timing(4.61, KeyQuality::kShared), ReturnTiming::kInWindow);
  EXPECT_EQ(timing(4.9, KeyQuality::kShared), ReturnTiming::kNone);
  EXPECT_EQ(timing(5.01, KeyQuality::kShared), ReturnTiming::kInWindow) << "Retry-After has whole seconds";
  EXPECT_EQ(timing(4.9, KeyQuality::kRetry), ReturnTiming::kInWindow) << "it says that it has tried before";
  EXPECT_EQ(timing(1, KeyQuality::kRetry), ReturnTiming::kNone) << "but which of the promises is its own?";
}

TEST(PromiseLedgerTest, OneReturnTakesOnePromise) {
  PromiseLedger ledger;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(ledger.Add(Of(7, 5 + 0.1 * i), kStart));
  for (int i = 0; i < 3; ++i) {
    const PromiseLedger::Found found = ledger.Find(7, KeyQuality::kRetry, At(5.3));
    ASSERT_EQ(found.timing, ReturnTiming::kInWindow);
    EXPECT_EQ(ledger.promise(found).due, At(5 + 0.1 * i)) << "the one that ends first";
    ledger.Remove(found);
  }
  EXPECT_EQ(ledger.Find(7, KeyQuality::kRetry, At(5.3)).timing, ReturnTiming::kNone);
}

TEST(PromiseLedgerTest, MeasuresWhoReturns) {
  PromiseLedger ledger;
  EXPECT_EQ(ledger.return_share(), 1);
  for (int i = 0; i < 600; ++i) {
    const absl::Time now = At(20.0 * i);
    Promise promise = Of(i, 1);
    promise.told = now;
    promise.due = promise.whole = now + absl::Seconds(1);
    promise.end = now + absl::Seconds(2);
    ASSERT_TRUE(ledger.Add(promise, now));
    if (i % 4 == 0) ledger.Remove(ledger.Find(i, KeyQuality::kOwn, now + absl::Seconds(1.1)));
  }
  EXPECT_NEAR(ledger.return_share(), 0.25, 0.03);
}

// A crowd under one key, of clients that say nothing of themselves: `per_s` come at any time, and whoever was promised
// a place returns `late` after the moment told. Counts the returns that are recognised, and the strangers let in.
struct CrowdResult {
  int returns = 0, recognised = 0, strangers = 0;
  double places = 0, held_mean = 0;
};
struct CrowdClients {
  absl::Duration late;
  bool whole_seconds = false;
  bool counts = false;  // says of a return that it is one
  double returning_share = 1;
};
CrowdResult RunCrowd(double per_s, double promises_per_s, const CrowdClients& clients, double seconds) {
  PromiseLedger ledger;
  std::mt19937_64 random(1);
  std::exponential_distribution<double> gap;
  struct Arrival {
    absl::Time at;
    bool returns;
    bool operator>(const Arrival& other) const { return at > other.at; }
  };
  std::priority_queue<Arrival, std::vector<Arrival>, std::greater<>> arrivals;
  arrivals.push({kStart, false});
  absl::Time promised = kStart;
  CrowdResult result;
  int counted = 0;
  while (arrivals.top().at < At(seconds)) {
    const Arrival arrival = arrivals.top();
    arrivals.pop();
    const absl::Time now = arrival.at;
    if (!arrival.returns) arrivals.push({now + absl::Seconds(gap(random) / per_s), false});
    const KeyQuality quality = arrival.returns && clients.counts ? KeyQuality::kRetry : KeyQuality::kShared;
    const PromiseLedger::Found found = ledger.Find(7, quality, now);
    ledger.CountArrival(7, quality, now);
    const bool late_enough = now > At(seconds / 2);
    if (late_enough) {
      result.returns += arrival.returns;
      result.recognised += arrival.returns && found.timing == ReturnTiming::kInWindow;
      result.strangers += !arrival.returns && found.timing == ReturnTiming::kInWindow;
      result.held_mean += ledger.Held(Priority::kNormal).places;
      ++counted;
    }
    if (found.timing == ReturnTiming::kInWindow) {
      ledger.Keep(found);
      continue;
    }
    if (now < promised) continue;
    promised = now + absl::Seconds(1 / promises_per_s);
    Promise promise = Of(7, 0);
    promise.told = now;
    promise.due = now + absl::Seconds(1 + gap(random));
    promise.whole = now + absl::Ceil(promise.due - now, absl::Seconds(1));
    promise.end = promise.whole + absl::Seconds(0.6);
    promise.places = ledger.PlacesFor(7, now);
    result.places = promise.places;
    EXPECT_TRUE(ledger.Add(promise, now));
    if (std::uniform_real_distribution<double>()(random) >= clients.returning_share) continue;
    arrivals.push({(clients.whole_seconds ? promise.whole : promise.due) + clients.late, true});
  }
  result.held_mean /= counted;
  ledger.Advance(At(seconds + 60));
  EXPECT_EQ(ledger.size(), 0u);
  EXPECT_NEAR(ledger.Held(Priority::kBatch).places, 0, 1e-6) << "nothing stays held";
  EXPECT_NEAR(ledger.Overdue(Priority::kBatch).places, 0, 1e-6);
  return result;
}

TEST(PromiseLedgerTest, InACrowdWhoReturnsFindsItsPlace) {
  for (const bool whole_seconds : {false, true}) {
    const CrowdResult crowd = RunCrowd(200, 5, {.late = absl::Milliseconds(3), .whole_seconds = whole_seconds}, 300);
    EXPECT_GE(crowd.returns, 500);
    EXPECT_GE(crowd.recognised, 0.95 * crowd.returns) << "every stranger once took a place, and the client lost it";
    // 200 a second in 5 to 10 ms are 1 to 2; at the other moment nobody returns.
    EXPECT_LE(crowd.strangers, 3 * crowd.returns);
    EXPECT_GT(crowd.places, 1.5);
    EXPECT_LT(crowd.places, 4);
    EXPECT_LT(crowd.held_mean, 4);
  }
}

// As over gRPC: one key for all calls, and a count on further attempts.
TEST(PromiseLedgerTest, InACrowdWhoCountsItsAttemptsLosesNoPlaceToFirstOnes) {
  for (const double share : {0.3, 1.0}) {
    const CrowdResult crowd =
        RunCrowd(150, 11, {.late = absl::Milliseconds(3), .counts = true, .returning_share = share}, 60);
    EXPECT_GE(crowd.returns, 60);
    EXPECT_GE(crowd.recognised, 0.95 * crowd.returns) << share;
    EXPECT_EQ(crowd.strangers, 0) << share;
  }
}

// What was learned of one crowd must not shut out the clients of another, that return in another way.
TEST(PromiseLedgerTest, ACrowdOfAnotherKindIsLearnedAnew) {
  PromiseLedger ledger;
  const auto run = [&](uint64_t key, KeyQuality again, bool whole_seconds, double from_s, double to_s) {
    std::multimap<double, bool> arrivals;  // whether it returns
    for (double at = from_s; at < to_s; at += 0.01) arrivals.emplace(at, false);
    int returns = 0, recognised = 0;
    for (auto next = arrivals.begin(); next != arrivals.end(); ++next) {
      const auto [at, returned] = *next;
      const absl::Time now = At(at);
      const KeyQuality quality = returned ? again : KeyQuality::kShared;
      const PromiseLedger::Found found = ledger.Find(key, quality, now);
      ledger.CountArrival(key, quality, now);
      returns += returned;
      if (found.timing == ReturnTiming::kInWindow) {
        recognised += returned;
        ledger.Keep(found);
      } else if (!returned && std::fmod(at * 100 + 0.5, 10) < 1) {
        Promise promise = Of(key, 0);
        promise.told = now;
        promise.due = now + absl::Seconds(1 + std::fmod(at * 0.618, 1));
        promise.whole = now + absl::Seconds(2);
        promise.end = promise.whole + absl::Seconds(0.6);
        promise.places = ledger.PlacesFor(key, now);
        EXPECT_TRUE(ledger.Add(promise, now));
        const absl::Time back = (whole_seconds ? promise.whole : promise.due) + absl::Milliseconds(2);
        if (back < At(to_s)) arrivals.emplace(absl::ToDoubleSeconds(back - kStart), true);
      }
    }
    EXPECT_GT(returns, 50);
    return static_cast<double>(recognised) / returns;
  };
  run(7, KeyQuality::kShared, true, 0, 60);
  EXPECT_GE(run(8, KeyQuality::kRetry, false, 70, 90), 0.9) << "as over gRPC";
}

TEST(PromiseLedgerTest, ACrowdMayBeLargerThanAnyPromise) {
  const CrowdResult crowd = RunCrowd(2000, 2, {.late = absl::Milliseconds(30)}, 60);
  EXPECT_LE(crowd.places, 24) << "12 at each of two moments";
  EXPECT_LE(crowd.strangers, 34 * crowd.returns) << "and twice the root of that by chance";
}

TEST(PromiseLedgerTest, WhoKnowsItsNumberIsNoStrangerInACrowd) {
  PromiseLedger ledger;
  const uint64_t number = ledger.Add(Of(7, 5.2), kStart);
  for (int i = 0; i < 100; ++i) ledger.CountArrival(7, KeyQuality::kShared, At(4 + 0.01 * i));
  EXPECT_EQ(ledger.Find(7, KeyQuality::kShared, At(5.1)).timing, ReturnTiming::kNone);
  EXPECT_TRUE(ledger.Find(7, KeyQuality::kShared, At(5.21)).in_crowd);
  const PromiseLedger::Found found = ledger.FindNumber(number, At(5.9));
  EXPECT_EQ(found.timing, ReturnTiming::kInWindow);
  EXPECT_FALSE(found.in_crowd);
  ledger.Keep(found);
  EXPECT_EQ(ledger.size(), 0u);
}

TEST(PromiseLedgerTest, FewUnderAKeyAreNoCrowd) {
  PromiseLedger ledger;
  ASSERT_TRUE(ledger.Add(Of(7, 5.2), kStart));
  ledger.CountArrival(7, KeyQuality::kShared, At(3));
  ledger.CountArrival(7, KeyQuality::kRetry, At(5.25));
  for (int i = 0; i < 50; ++i) ledger.CountArrival(7, KeyQuality::kFirst, At(5.25));  // states that it has none
  EXPECT_EQ(ledger.PlacesFor(7, At(5.25)), 1);
  const PromiseLedger::Found found = ledger.Find(7, KeyQuality::kShared, At(5.3));
  EXPECT_EQ(found.timing, ReturnTiming::kInWindow);
  EXPECT_FALSE(found.in_crowd);
}

TEST(PromiseLedgerTest, MemoryIsBounded) {
  PromiseLedger ledger;
  for (size_t i = 0; i < PromiseLedger::kMaxPromises; ++i) {
    ASSERT_TRUE(ledger.Add(Of(i % 100, 1 + static_cast<double>(i % 29)), kStart));
  }
  EXPECT_FALSE(ledger.Add(Of(1, 5), kStart));
  ledger.Advance(At(100));
  EXPECT_EQ(ledger.size(), 0u);
  EXPECT_EQ(ledger.Overdue(Priority::kBatch).places, 0);
  Promise later = Of(1, 105);
  EXPECT_TRUE(ledger.Add(later, At(100)));
}

}  // namespace
}  // namespace hadal::admission
