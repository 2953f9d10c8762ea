// SPDX-License-Identifier: Apache-2.0
#include "client/retry.h"

#include <gtest/gtest.h>

#include <set>

namespace hadal::client {
namespace {

// Servers on a clock that the test turns.
struct Fixture {
  explicit Fixture(std::vector<std::string> addresses = {"a"}, RetryOptions options = {})
      : targets(addresses, options, [this] { return now; }) {}

  RetriedCall Call(absl::Duration deadline = absl::Hours(1), double draw = 1.0) {
    return RetriedCall(&targets, now + deadline, [draw] { return draw; });
  }
  // The waits of a call that is refused each time.
  std::vector<absl::Duration> Waits(RetriedCall call, const Refusal& refusal) {
    std::vector<absl::Duration> waits;
    while (true) {
      while (call.Begin() != nullptr) call.Refused(refusal);
      const std::optional<absl::Duration> wait = call.Wait();
      if (!wait.has_value()) return waits;
      waits.push_back(*wait);
      now += *wait;
    }
  }
  Target& first() { return *targets.all()[0]; }

  absl::Time now = absl::FromUnixSeconds(1000);
  Targets targets;
};

TEST(RetriedCallTest, ReturnsExactlyWhenToldAndBringsTheTicketOnce) {
  Fixture f;
  RetriedCall call = f.Call();
  ASSERT_EQ(call.Begin(), &f.first());
  EXPECT_EQ(call.TakeTicket(), "");
  call.Refused({.after = absl::Seconds(2), .ticket = "t"});
  f.now += absl::Milliseconds(1999);
  EXPECT_EQ(call.Begin(), nullptr);
  EXPECT_EQ(call.Wait(), absl::Milliseconds(1));
  f.now += absl::Milliseconds(1);
  ASSERT_EQ(call.Begin(), &f.first());
  EXPECT_EQ(call.TakeTicket(), "t");
  EXPECT_EQ(call.TakeTicket(), "");
  EXPECT_EQ(call.attempts(), 2);
}

TEST(RetriedCallTest, BacksOffWithFullJitterWhereNoTimeIsNamed) {
  Fixture f({"a"}, {.max_attempts = 9});
  EXPECT_EQ(f.Waits(f.Call(), {}),
            (std::vector<absl::Duration>{absl::Milliseconds(500), absl::Seconds(1), absl::Seconds(2), absl::Seconds(4),
                                         absl::Seconds(8), absl::Seconds(16), absl::Seconds(30), absl::Seconds(30)}));
  EXPECT_EQ(f.Waits(f.Call(absl::Hours(1), 0.25), {})[1], absl::Milliseconds(250));
}

TEST(RetriedCallTest, GivesUpAfterItsAttemptsOrWhenTold) {
  Fixture f;
  EXPECT_EQ(f.Waits(f.Call(), {}).size(), 4u);
  EXPECT_TRUE(f.Waits(f.Call(), {.final = true}).empty());
}

TEST(RetriedCallTest, GivesUpWhenTheTimeNamedIsBehindTheDeadline) {
  Fixture f;
  EXPECT_TRUE(f.Waits(f.Call(absl::Seconds(10)), {.after = absl::Seconds(10)}).empty());
  EXPECT_EQ(f.Waits(f.Call(absl::Seconds(10)), {.after = absl::Seconds(9)}).size(), 1u);
}

TEST(RetriedCallTest, TriesTheOthersBeforeItWaitsAndReturnsToTheFirstThatIsFree) {
  Fixture f({"a", "b", "c"});
  RetriedCall call = f.Call();
  std::set<Target*> asked;
  Target* soonest = nullptr;
  for (const int seconds : {9, 3, 6}) {
    Target* const target = call.Begin();
    ASSERT_NE(target, nullptr);
    asked.insert(target);
    if (seconds == 3) soonest = target;
    call.Refused({.after = absl::Seconds(seconds), .ticket = std::to_string(seconds)});
  }
  EXPECT_EQ(asked.size(), 3u);
  EXPECT_EQ(call.Begin(), nullptr);
  EXPECT_EQ(call.Wait(), absl::Seconds(3));
  f.now += absl::Seconds(3);
  ASSERT_EQ(call.Begin(), soonest);
  EXPECT_EQ(call.TakeTicket(), "3");
}

TEST(RetriedCallTest, TheBudgetBoundsRetriesButNotThoseToAPromisedPlace) {
  Fixture f({"a"}, {.max_attempts = 100, .budget = 2, .budget_refill = 0.5});
  EXPECT_EQ(f.Waits(f.Call(), {}).size(), 2u);
  EXPECT_TRUE(f.Waits(f.Call(), {}).empty());
  EXPECT_EQ(f.Waits(f.Call(), {.after = absl::Seconds(1), .ticket = "t"}).size(), 99u);
  for (int i = 0; i < 10; ++i) f.targets.OnServed();
  EXPECT_TRUE(f.targets.TakeRetry());
  EXPECT_TRUE(f.targets.TakeRetry());
  EXPECT_FALSE(f.targets.TakeRetry()) << "never above its full stock";
}

TEST(TargetTest, TheOneWithTheFewestCallsIsChosen) {
  Fixture f({"a", "b"});
  ASSERT_TRUE(f.first().Start());
  for (int i = 0; i < 5; ++i) {
    RetriedCall call = f.Call();
    EXPECT_EQ(call.Begin(), f.targets.all()[1].get());
    call.Served();
    f.targets.all()[1]->Finish();
  }
}

TEST(TargetTest, ACircuitOpensTriesOnceAndCloses) {
  Fixture f({"a"}, {.max_attempts = 1, .breaker_failures = 3, .breaker_pause = absl::Seconds(2)});
  const auto fail = [&] {
    RetriedCall call = f.Call();
    ASSERT_NE(call.Begin(), nullptr);
    call.Failed();
  };
  fail();
  fail();
  EXPECT_EQ(f.first().state(), Target::State::kClosed);
  fail();
  EXPECT_EQ(f.first().state(), Target::State::kOpen);
  RetriedCall waiting = f.Call();
  EXPECT_EQ(waiting.Begin(), nullptr);
  EXPECT_EQ(waiting.Wait(), absl::Seconds(2));
  f.now += absl::Seconds(2);
  RetriedCall probe = f.Call();
  ASSERT_NE(probe.Begin(), nullptr);
  EXPECT_EQ(waiting.Begin(), nullptr) << "one call tries";
  probe.Failed();
  EXPECT_EQ(f.Call().Wait(), absl::Seconds(4)) << "the pause doubles";
  f.now += absl::Seconds(4);
  RetriedCall second = f.Call();
  ASSERT_NE(second.Begin(), nullptr);
  second.Served();
  f.first().Finish();
  EXPECT_EQ(f.first().state(), Target::State::kClosed);
  EXPECT_EQ(f.first().in_flight(), 0);
}

TEST(TargetTest, RefusalsForCapacityOpenNoCircuit) {
  Fixture f({"a"}, {.max_attempts = 50, .breaker_failures = 2});
  f.Waits(f.Call(), {});
  EXPECT_EQ(f.first().state(), Target::State::kClosed);
}

TEST(TargetTest, ItsLoadIsWhatItReportedAndWhatWasSentSince) {
  Fixture f;
  Target& target = f.first();
  ASSERT_TRUE(target.Start());
  EXPECT_EQ(target.load(), 1);
  target.Report(7);
  EXPECT_EQ(target.load(), 7) << "its own call is among them";
  ASSERT_TRUE(target.Start());
  EXPECT_EQ(target.load(), 8);
  target.Finish();
  target.Finish();
  EXPECT_EQ(target.load(), 6);
  EXPECT_TRUE(target.ShouldAskForLoad());
  EXPECT_FALSE(target.ShouldAskForLoad()) << "once a second";
  f.now += absl::Seconds(1);
  EXPECT_TRUE(target.ShouldAskForLoad());
  f.now += absl::Seconds(10);
  EXPECT_EQ(target.load(), 0) << "a report grows old";
}

}  // namespace
}  // namespace hadal::client
