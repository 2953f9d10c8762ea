// SPDX-License-Identifier: Apache-2.0
#include "client/hedging.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "client/client.h"
#include "client/retry.h"
#include "tests/client/scripted_server.h"

namespace hadal::client {
namespace {

TEST(HedgingTest, NeverMoreThanItsShareOfTheCalls) {
  Hedging hedging({.delay = absl::Seconds(1), .max_share = 0.05});
  int hedges = 0;
  for (int call = 1; call <= 1000; ++call) {
    hedging.OnCall();
    if (hedging.Take()) ++hedges;
    ASSERT_LE(hedges, 1 + call * 0.05 + 1e-6);
  }
  EXPECT_EQ(hedges, 51);
}

TEST(HedgingTest, ACalmTimeSavesUpAFewAndNoFlood) {
  Hedging hedging({.delay = absl::Seconds(1), .max_share = 0.05});
  for (int call = 0; call < 10'000; ++call) hedging.OnCall();
  int hedges = 0;
  while (hedging.Take()) ++hedges;
  EXPECT_EQ(hedges, 10);
  hedging.GiveBack();
  EXPECT_TRUE(hedging.Take());
  EXPECT_FALSE(hedging.Take());
}

TEST(HedgingTest, WaitsForTheShareOfAnswersThatItIsToldTo) {
  Hedging hedging({.quantile = 0.95});
  for (int i = 1; i < 20; ++i) hedging.OnAnswer(CallKind::kGeneration, absl::Milliseconds(i));
  EXPECT_EQ(hedging.Delay(CallKind::kGeneration), absl::InfiniteDuration()) << "too few to tell";
  for (int i = 20; i <= 100; ++i) hedging.OnAnswer(CallKind::kGeneration, absl::Milliseconds(i));
  EXPECT_EQ(hedging.Delay(CallKind::kGeneration), absl::Milliseconds(96));
  EXPECT_EQ(hedging.Delay(CallKind::kQuestion), absl::InfiniteDuration()) << "these take another time";
  for (int i = 0; i < 256; ++i) hedging.OnAnswer(CallKind::kGeneration, absl::Seconds(2));
  EXPECT_EQ(hedging.Delay(CallKind::kGeneration), absl::Seconds(2)) << "old ones are forgotten";
}

TEST(HedgingTest, AFixedDelayIsTheLeast) {
  EXPECT_FALSE(HedgingOptions().on());
  EXPECT_EQ(Hedging({.delay = absl::Seconds(3)}).Delay(CallKind::kQuestion), absl::Seconds(3));
  Hedging both({.delay = absl::Seconds(3), .quantile = 0.5});
  for (int i = 0; i < 20; ++i) both.OnAnswer(CallKind::kQuestion, absl::Seconds(1));
  EXPECT_EQ(both.Delay(CallKind::kQuestion), absl::Seconds(3));
}

TEST(HedgingTest, RefusesOptionsThatCannotBe) {
  const HedgingOptions wrong[] = {
      {.delay = -absl::Seconds(1)}, {.quantile = 1}, {.quantile = -0.1}, {.max_share = -0.1}, {.max_share = 1.1}};
  for (const HedgingOptions& options : wrong) {
    const absl::Status status = Client::Connect({.retry = {.hedging = options}}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("hedging."), std::string_view::npos) << status;
  }
}

// Calls on a clock that the test turns.
struct Fixture {
  explicit Fixture(std::vector<std::string> addresses, double budget = 100)
      : targets(addresses,
                {.budget = budget, .breaker_failures = 1, .hedging = {.delay = absl::Seconds(1), .max_share = 1}},
                [this] { return now; }) {}

  absl::Time now = absl::FromUnixSeconds(1000);
  Targets targets;
  RetriedCall call{&targets, now + absl::Hours(1)};
};

TEST(RetriedCallHedgeTest, GoesToAnotherServerAndCostsARetry) {
  Fixture f({"a", "b"}, /*budget=*/1);
  Target* const first = f.call.Begin();
  Target* const hedge = f.call.BeginHedge();
  ASSERT_NE(hedge, nullptr);
  EXPECT_NE(hedge, first);
  EXPECT_EQ(hedge->in_flight(), 1);
  EXPECT_FALSE(f.targets.TakeRetry());
  RetriedCall other(&f.targets, f.now + absl::Hours(1));
  ASSERT_NE(other.Begin(), nullptr);
  EXPECT_EQ(other.BeginHedge(), nullptr) << "no retries left";
  EXPECT_EQ(f.targets.counts().hedges, 1);
  EXPECT_EQ(f.targets.counts().attempts, 3);
  EXPECT_EQ(f.targets.counts().calls, 2);
}

// Two servers, of which the client takes the first.
class ClientHedgeTest : public ::testing::Test {
 protected:
  ClientHedgeTest() { second_.SetWaiting(1000); }

  std::unique_ptr<Client> Connected(HedgingOptions hedging) {
    auto client = *Client::Connect({.targets = {first_.target(), second_.target()},
                                    .retry = {.initial_backoff = absl::Milliseconds(1), .hedging = hedging}});
    EXPECT_EQ(client->GetLoad(absl::Seconds(30))->size(), 2u);
    return client;
  }
  template <typename Condition>
  static bool Comes(const Condition& condition) {
    const absl::Time start = absl::Now();
    while (!condition() && absl::Now() - start < absl::Seconds(60)) absl::SleepFor(absl::Milliseconds(1));
    return condition();
  }

  ScriptedServer first_{0, ""}, second_{0, ""};
};

TEST_F(ClientHedgeTest, AChatAtASlowServerIsAnsweredByAnotherAndCancelledThere) {
  first_.SetStall(true);
  const auto client = Connected({.delay = absl::Milliseconds(20), .max_share = 1});
  const auto result = client->Chat(Question(), kIgnore);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->text, "hello") << "once";
  EXPECT_TRUE(Comes([&] { return first_.cancelled() == 1; }));
  EXPECT_EQ(second_.calls(), 1);
  EXPECT_EQ(client->counts().calls, 1);
  EXPECT_EQ(client->counts().attempts, 2);
  EXPECT_EQ(client->counts().hedges, 1);
  EXPECT_EQ(client->counts().hedges_won, 1);
}

TEST_F(ClientHedgeTest, SoIsACallWithoutAStream) {
  first_.SetStall(true);
  const auto client = Connected({.delay = absl::Milliseconds(20), .max_share = 1});
  EXPECT_EQ(*client->Tokenize("AB"), (std::vector<int32_t>{65, 66}));
  EXPECT_TRUE(Comes([&] { return first_.cancelled() == 1; }));
  EXPECT_EQ(client->counts().hedges_won, 1);
}

TEST_F(ClientHedgeTest, TheFirstMayStillBeTheFirst) {
  first_.SetStall(true);
  second_.SetStall(true);
  const auto client = Connected({.delay = absl::Milliseconds(20), .max_share = 1});
  auto result = std::async(std::launch::async, [&] { return client->Chat(Question(), kIgnore); });
  ASSERT_TRUE(Comes([&] { return second_.stalled() == 1; }));
  first_.SetStall(false);
  EXPECT_EQ(result.get()->text, "hello");
  EXPECT_TRUE(Comes([&] { return second_.cancelled() == 1; }));
  EXPECT_EQ(client->counts().hedges, 1);
  EXPECT_EQ(client->counts().hedges_won, 0);
}

TEST_F(ClientHedgeTest, CancelEndsBoth) {
  first_.SetStall(true);
  second_.SetStall(true);
  const auto client = Connected({.delay = absl::Milliseconds(20), .max_share = 1});
  const auto result = client->Chat(
      Question(), [&](std::string_view, std::string_view) { return first_.stalled() + second_.stalled() < 2; });
  EXPECT_TRUE(absl::IsCancelled(result.status())) << result.status();
  EXPECT_TRUE(Comes([&] { return first_.cancelled() + second_.cancelled() == 2; }));
}

TEST_F(ClientHedgeTest, OffUnlessAskedFor) {
  first_.SetStall(true);
  const auto client = Connected({});
  auto result = std::async(std::launch::async, [&] { return client->Chat(Question(), kIgnore); });
  ASSERT_TRUE(Comes([&] { return first_.stalled() == 1; }));
  absl::SleepFor(absl::Milliseconds(100));
  first_.SetStall(false);
  EXPECT_TRUE(result.get().ok());
  EXPECT_EQ(second_.calls(), 0);
  EXPECT_EQ(client->counts().hedges, 0);
}

TEST_F(ClientHedgeTest, AnAnswerThatHasBegunIsNot) {
  first_.ThinkOnAndOn();
  const auto client = Connected({.delay = absl::Seconds(2), .max_share = 1});  // in which it begins, under load too
  absl::Time begun = absl::InfiniteFuture();
  const auto result = client->Chat(Question(), [&](std::string_view reasoning, std::string_view) {
    if (!reasoning.empty()) begun = std::min(begun, absl::Now());
    return absl::Now() - begun < absl::Seconds(2.5);
  });
  EXPECT_TRUE(absl::IsCancelled(result.status()));
  EXPECT_EQ(client->counts().hedges, 0);
  EXPECT_EQ(second_.calls(), 0);
}

TEST_F(ClientHedgeTest, AHedgeThatIsRefusedCostsTheFirstNothing) {
  ScriptedServer refuses(1000, "-1");
  refuses.SetWaiting(1000);
  first_.SetStall(true);
  const auto client = *Client::Connect({.targets = {first_.target(), refuses.target()},
                                        .retry = {.hedging = {.delay = absl::Milliseconds(20), .max_share = 1}}});
  ASSERT_EQ(client->GetLoad(absl::Seconds(30))->size(), 2u);
  auto result = std::async(std::launch::async, [&] { return client->Chat(Question(), kIgnore); });
  ASSERT_TRUE(Comes([&] { return refuses.calls() == 1; }));
  absl::SleepFor(absl::Milliseconds(50));
  first_.SetStall(false);
  ASSERT_TRUE(result.get().ok());
  EXPECT_EQ(first_.cancelled(), 0);
  EXPECT_EQ(refuses.calls(), 1);
}

TEST(ClientHedgeOfRefusalsTest, ARefusalIsWaitedOutAndNotHedged) {
  ScriptedServer one(1, "3000"), two(1, "3000");
  const auto client = *Client::Connect(
      {.targets = {one.target(), two.target()}, .retry = {.hedging = {.delay = absl::Seconds(2), .max_share = 1}}});
  ASSERT_TRUE(client->Chat(Question(), kIgnore).ok());
  EXPECT_EQ(one.calls() + two.calls(), 3);
  EXPECT_EQ(client->counts().hedges, 0);
  EXPECT_EQ(client->counts().attempts, 3);
}

TEST_F(ClientHedgeTest, ManySlowCallsAreHedgedNoMoreThanTheirShare) {
  second_.SetStall(true);
  const auto client = Connected({.delay = absl::ZeroDuration(), .max_share = 0.1});
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(client->Tokenize("AB").ok());
  EXPECT_LE(client->counts().hedges, 7);
  EXPECT_EQ(client->counts().attempts, 60 + client->counts().hedges);
}

}  // namespace
}  // namespace hadal::client
