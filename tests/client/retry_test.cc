// SPDX-License-Identifier: Apache-2.0
#include "client/retry.h"

#include <gtest/gtest.h>

#include <set>

namespace hadal::client {
namespace {

// Servers on a clock that the test turns. What client/python does as well stands in retry_cases.json.
struct Fixture {
  explicit Fixture(std::vector<std::string> addresses = {"a"}, RetryOptions options = {})
      : targets(addresses, options, [this] { return now; }) {}

  RetriedCall Call() { return RetriedCall(&targets, now + absl::Hours(1)); }
  Target& first() { return *targets.all()[0]; }

  absl::Time now = absl::FromUnixSeconds(1000);
  Targets targets;
};

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
    call.Refused(target, {.after = absl::Seconds(seconds), .ticket = std::to_string(seconds)});
  }
  EXPECT_EQ(asked.size(), 3u);
  EXPECT_EQ(call.Begin(), nullptr);
  EXPECT_EQ(call.Wait(), absl::Seconds(3));
  f.now += absl::Seconds(3);
  ASSERT_EQ(call.Begin(), soonest);
  EXPECT_EQ(call.TakeTicket(soonest), "3");
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
  f.now += absl::Seconds(1);
  EXPECT_TRUE(target.ShouldAskForLoad());
  EXPECT_FALSE(target.ShouldAskForLoad()) << "once a second";
  f.now += absl::Seconds(1);
  EXPECT_TRUE(target.ShouldAskForLoad());
  f.now += absl::Seconds(1);
  target.Report(6);
  EXPECT_FALSE(target.ShouldAskForLoad()) << "it has just said it";
  f.now += absl::Seconds(1);
  EXPECT_TRUE(target.ShouldAskForLoad());
  f.now += absl::Seconds(10);
  EXPECT_EQ(target.load(), 0) << "a report grows old";
}

}  // namespace
}  // namespace hadal::client
