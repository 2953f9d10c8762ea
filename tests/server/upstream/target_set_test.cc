// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/target_set.h"

#include <array>

#include "gtest/gtest.h"
#include "tests/support/fake_clock.h"

namespace hadal::upstream {
namespace {

using hadal::testing::FakeClock;
using State = base::CircuitBreaker::State;

TargetOptions Target(const std::string& name, int weight = 0, int max_in_flight = 64) {
  return {.name = name, .base_url = "http://" + name, .weight = weight, .max_in_flight = max_in_flight};
}

class TargetSetTest : public ::testing::Test {
 protected:
  std::unique_ptr<TargetSet> Set(std::vector<TargetOptions> targets) {
    return std::make_unique<TargetSet>(
        TargetSet::Options{.targets = std::move(targets), .clock = &clock_, .metrics = &metrics_});
  }
  static std::optional<TargetSet::Attempt> Begin(TargetSet& set, std::vector<size_t> tried = {}) {
    std::vector<bool> flags(set.size(), false);
    for (const size_t index : tried) flags[index] = true;
    return set.Begin(flags);
  }
  static int Next(TargetSet& set, std::vector<size_t> tried = {}) {
    const std::optional<TargetSet::Attempt> attempt = Begin(set, std::move(tried));
    return attempt.has_value() ? static_cast<int>(attempt->target()) : -1;
  }
  void End(TargetSet& set, Outcome outcome, std::optional<absl::Duration> rest = std::nullopt) {
    std::optional<TargetSet::Attempt> attempt = Begin(set);
    ASSERT_TRUE(attempt.has_value());
    attempt->End(outcome, rest);
  }
  bool Exposes(const std::string& line) { return metrics_.Expose().find(line) != std::string::npos; }

  FakeClock clock_;
  base::MetricRegistry metrics_;
};

TEST_F(TargetSetTest, AsksInOrder) {
  const auto set = Set({Target("a"), Target("b"), Target("c")});
  EXPECT_EQ(Next(*set), 0);
  EXPECT_EQ(Next(*set), 0) << "the first one each time";
  EXPECT_EQ(Next(*set, {0}), 1);
  EXPECT_EQ(Next(*set, {0, 1}), 2);
  EXPECT_EQ(Next(*set, {0, 1, 2}), -1);
}

TEST_F(TargetSetTest, NeighboursWithWeightsTakeTurns) {
  const auto set = Set({Target("a", 3), Target("b", 1), Target("c")});
  std::array<int, 3> asked{};
  for (int i = 0; i < 40; ++i) ++asked[static_cast<size_t>(Next(*set))];
  EXPECT_EQ(asked, (std::array<int, 3>{30, 10, 0}));
  EXPECT_EQ(Next(*set, {0}), 1);
  EXPECT_EQ(Next(*set, {0, 1}), 2) << "who has no weight comes behind them";
}

TEST_F(TargetSetTest, BoundsWhatIsInFlight) {
  const auto set = Set({Target("a", 0, 2), Target("b", 0, 1)});
  std::optional<TargetSet::Attempt> first = Begin(*set), second = Begin(*set), third = Begin(*set);
  EXPECT_EQ(third->target(), 1u);
  EXPECT_FALSE(set->MayBegin());
  EXPECT_EQ(Next(*set), -1);
  EXPECT_TRUE(Exposes("hadal_upstream_requests_in_flight{target=\"a\"} 2"));
  second->End(Outcome::kOk);
  EXPECT_TRUE(set->MayBegin());
  EXPECT_EQ(Next(*set), 0);
}

TEST_F(TargetSetTest, AFullTargetIsLeftAloneForAsLongAsItSays) {
  const auto set = Set({Target("a")});
  End(*set, Outcome::kBusy, absl::Milliseconds(2400));
  EXPECT_FALSE(set->MayBegin());
  EXPECT_EQ(set->state(0), State::kClosed) << "it has answered well";
  clock_.Advance(absl::Milliseconds(2399));
  EXPECT_EQ(Next(*set), -1);
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(Next(*set), 0);
  End(*set, Outcome::kBusy);
  clock_.Advance(absl::Milliseconds(999));
  EXPECT_FALSE(set->MayBegin()) << "a second, where it does not say";
  clock_.Advance(absl::Milliseconds(1));
  End(*set, Outcome::kBusy, absl::Hours(10));
  clock_.Advance(absl::Minutes(5));
  EXPECT_TRUE(set->MayBegin());
}

TEST_F(TargetSetTest, FailuresOpenTheCircuitAndAProbeClosesIt) {
  const auto set = Set({Target("a"), Target("b")});
  for (const Outcome outcome :
       {Outcome::kUnreachable, Outcome::kError, Outcome::kMalformed, Outcome::kTimeout, Outcome::kBroken}) {
    End(*set, outcome);
  }
  EXPECT_EQ(set->state(0), State::kOpen);
  EXPECT_TRUE(Exposes("hadal_upstream_circuit_state{target=\"a\",state=\"open\"} 1"));
  EXPECT_TRUE(Exposes("hadal_upstream_requests_total{target=\"a\",outcome=\"malformed\"} 1"));
  EXPECT_EQ(Next(*set), 1) << "the next one is asked meanwhile";
  clock_.Advance(absl::Seconds(5));
  std::optional<TargetSet::Attempt> probe = Begin(*set);
  EXPECT_EQ(probe->target(), 0u);
  EXPECT_EQ(Next(*set), 1) << "one probe at a time";
  probe->SawFirstByte();
  probe->End(Outcome::kOk);
  EXPECT_EQ(set->state(0), State::kClosed);
  EXPECT_TRUE(Exposes("hadal_upstream_circuit_state{target=\"a\",state=\"closed\"} 1"));
}

TEST_F(TargetSetTest, SlowAnswersOpenTheCircuit) {
  const auto set = Set({Target("a")});
  for (int i = 0; i < 5; ++i) {
    std::optional<TargetSet::Attempt> attempt = Begin(*set);
    clock_.Advance(absl::Seconds(5.1));
    attempt->SawFirstByte();
    attempt->End(Outcome::kOk);
  }
  EXPECT_EQ(set->state(0), State::kOpen);
}

TEST_F(TargetSetTest, ClientsThatLeaveSayNothingUnlessTheyHaveWaitedLong) {
  const auto set = Set({Target("a")});
  for (int i = 0; i < 10; ++i) End(*set, Outcome::kCancelled);
  EXPECT_EQ(set->state(0), State::kClosed);
  for (int i = 0; i < 5; ++i) {
    const std::optional<TargetSet::Attempt> attempt = Begin(*set);
    clock_.Advance(absl::Seconds(5.1));
  }
  EXPECT_EQ(set->state(0), State::kOpen) << "it hangs, and no client waits for the time-out";
}

TEST_F(TargetSetTest, RequestsThatItRejectsAreNotItsFault) {
  const auto set = Set({Target("a")});
  for (int i = 0; i < 10; ++i) End(*set, Outcome::kRejected);
  EXPECT_EQ(set->state(0), State::kClosed);
}

TEST_F(TargetSetTest, AnAttemptThatIsDroppedIsCancelledOnce) {
  const auto set = Set({Target("a", 0, 1)});
  {
    std::optional<TargetSet::Attempt> attempt = Begin(*set);
    TargetSet::Attempt moved = *std::move(attempt);
  }
  EXPECT_TRUE(Exposes("hadal_upstream_requests_total{target=\"a\",outcome=\"cancelled\"} 1"));
  EXPECT_TRUE(set->MayBegin());
}

}  // namespace
}  // namespace hadal::upstream
