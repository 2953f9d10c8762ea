// SPDX-License-Identifier: Apache-2.0
#include "server/base/circuit_breaker.h"

#include "gtest/gtest.h"

namespace hadal::base {
namespace {

using Result = CircuitBreaker::Result;
using State = CircuitBreaker::State;

// A circuit and its time.
class Circuit {
 public:
  void Call(Result result, int times = 1) {
    for (int i = 0; i < times; ++i) {
      ASSERT_TRUE(breaker.MayBegin(now));
      breaker.End(breaker.Begin(now), result, now);
    }
  }

  CircuitBreaker breaker{{}};
  absl::Time now = absl::FromUnixSeconds(1000);
};

TEST(CircuitBreakerTest, OpensWhenHalfOfFiveCallsWereBad) {
  Circuit circuit;
  circuit.Call(Result::kGood, 2);
  circuit.Call(Result::kBad, 2);
  EXPECT_EQ(circuit.breaker.state(), State::kClosed) << "four calls say too little";
  circuit.Call(Result::kBad);
  EXPECT_EQ(circuit.breaker.state(), State::kOpen);
  EXPECT_FALSE(circuit.breaker.MayBegin(circuit.now));
}

TEST(CircuitBreakerTest, FewBadOnesAmongManyLeaveItClosed) {
  Circuit circuit;
  for (int i = 0; i < 50; ++i) {
    circuit.Call(Result::kGood, 2);
    circuit.Call(Result::kBad);
  }
  EXPECT_EQ(circuit.breaker.state(), State::kClosed);
}

TEST(CircuitBreakerTest, CallsThatEndedUnknownDoNotCount) {
  Circuit circuit;
  circuit.Call(Result::kUnknown, 10);
  circuit.Call(Result::kBad, 4);
  EXPECT_EQ(circuit.breaker.state(), State::kClosed);
}

TEST(CircuitBreakerTest, ForgetsWhatIsOlderThanItsWindow) {
  Circuit circuit;
  circuit.Call(Result::kBad, 4);
  circuit.now += absl::Seconds(34);
  circuit.Call(Result::kBad);
  EXPECT_EQ(circuit.breaker.state(), State::kClosed);
  circuit.now += absl::Seconds(20);
  circuit.Call(Result::kBad, 3);
  EXPECT_EQ(circuit.breaker.state(), State::kClosed) << "four within the window";
  circuit.Call(Result::kBad);
  EXPECT_EQ(circuit.breaker.state(), State::kOpen);
}

TEST(CircuitBreakerTest, OneGoodProbeClosesIt) {
  Circuit circuit;
  circuit.Call(Result::kBad, 5);
  circuit.now += absl::Seconds(5);
  ASSERT_TRUE(circuit.breaker.MayBegin(circuit.now));
  const uint64_t probe = circuit.breaker.Begin(circuit.now);
  EXPECT_EQ(circuit.breaker.state(), State::kHalfOpen);
  EXPECT_FALSE(circuit.breaker.MayBegin(circuit.now)) << "one at a time";
  circuit.breaker.End(probe, Result::kGood, circuit.now);
  EXPECT_EQ(circuit.breaker.state(), State::kClosed);
  circuit.Call(Result::kBad, 4);
  EXPECT_EQ(circuit.breaker.state(), State::kClosed) << "what was before is forgotten";
}

TEST(CircuitBreakerTest, EachBadProbeDoublesTheTimeUpToAMinute) {
  Circuit circuit;
  circuit.Call(Result::kBad, 5);
  for (const int seconds : {5, 10, 20, 40, 60, 60}) {
    circuit.now += absl::Seconds(seconds) - absl::Milliseconds(1);
    EXPECT_FALSE(circuit.breaker.MayBegin(circuit.now)) << seconds;
    circuit.now += absl::Milliseconds(1);
    circuit.Call(Result::kBad);
    EXPECT_EQ(circuit.breaker.state(), State::kOpen);
  }
}

TEST(CircuitBreakerTest, AProbeThatSaysNothingLeavesItToTheNext) {
  Circuit circuit;
  circuit.Call(Result::kBad, 5);
  circuit.now += absl::Seconds(5);
  circuit.Call(Result::kUnknown);
  EXPECT_EQ(circuit.breaker.state(), State::kOpen);
  circuit.Call(Result::kGood);
  EXPECT_EQ(circuit.breaker.state(), State::kClosed);
}

TEST(CircuitBreakerTest, CallsFromBeforeSayNothingAboutNow) {
  Circuit circuit;
  const uint64_t old = circuit.breaker.Begin(circuit.now);
  circuit.Call(Result::kBad, 5);
  circuit.breaker.End(old, Result::kGood, circuit.now);
  EXPECT_EQ(circuit.breaker.state(), State::kOpen);
  circuit.now += absl::Seconds(5);
  circuit.breaker.Begin(circuit.now);
  circuit.breaker.End(old, Result::kGood, circuit.now);
  EXPECT_EQ(circuit.breaker.state(), State::kHalfOpen) << "it is not the probe";
}

}  // namespace
}  // namespace hadal::base
