// SPDX-License-Identifier: Apache-2.0
#include "client/attempt_race.h"

#include <gtest/gtest.h>

namespace hadal::client {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1000);

struct Fixture {
  AttemptRace::Attempt Begin(int seconds, bool hedge = false) {
    AttemptRace::Attempt attempt{.target = hedge ? &second : &first,
                                 .context = std::make_shared<grpc::ClientContext>(),
                                 .began = kStart + absl::Seconds(seconds),
                                 .hedge = hedge};
    race.Add(attempt);
    return attempt;
  }

  RetryOptions options;
  Target first{"a", options, [] { return kStart; }};
  Target second{"b", options, [] { return kStart; }};
  AttemptRace race;
};

TEST(AttemptRaceTest, OneAloneMayBeHedgedUntilItsAnswerBegins) {
  Fixture f;
  const AttemptRace::Attempt attempt = f.Begin(0);
  EXPECT_TRUE(f.race.Alone(attempt.context.get()));
  const auto outcome = f.race.Settle(attempt.context.get());
  ASSERT_TRUE(outcome.has_value());
  EXPECT_FALSE(outcome->hedge);
  EXPECT_TRUE(outcome->losers.empty());
  EXPECT_FALSE(f.race.Alone(attempt.context.get()));
  EXPECT_EQ(f.race.winner(), attempt.context.get());
  EXPECT_EQ(f.race.winner_target(), &f.first);
}

TEST(AttemptRaceTest, TheHedgeThatIsAnsweredFirstLeavesTheOtherLost) {
  Fixture f;
  const AttemptRace::Attempt slow = f.Begin(0);
  const AttemptRace::Attempt hedge = f.Begin(2, /*hedge=*/true);
  EXPECT_FALSE(f.race.Alone(slow.context.get()));
  EXPECT_EQ(f.race.running().size(), 2u);
  const auto outcome = f.race.Settle(hedge.context.get());
  ASSERT_TRUE(outcome.has_value());
  EXPECT_TRUE(outcome->hedge);
  EXPECT_EQ(outcome->began, kStart) << "the caller has waited since the first one";
  ASSERT_EQ(outcome->losers.size(), 1u);
  EXPECT_EQ(outcome->losers[0], slow.context);
  EXPECT_EQ(f.race.winner_target(), &f.second);
  EXPECT_FALSE(f.race.Settle(slow.context.get()).has_value()) << "it is too late for the other one";
  EXPECT_FALSE(f.race.TakeRunning(slow.context.get()).has_value());
  EXPECT_EQ(f.race.TakeLost(slow.context.get())->target, &f.first);
  EXPECT_FALSE(f.race.TakeLost(slow.context.get()).has_value()) << "once";
  EXPECT_EQ(f.race.TakeRunning(hedge.context.get())->target, &f.second);
  EXPECT_TRUE(f.race.empty());
}

TEST(AttemptRaceTest, OneThatEndsWithoutAnAnswerLeavesTheOtherRunning) {
  Fixture f;
  const AttemptRace::Attempt slow = f.Begin(0);
  const AttemptRace::Attempt hedge = f.Begin(2, /*hedge=*/true);
  EXPECT_TRUE(f.race.TakeRunning(hedge.context.get()).has_value());
  EXPECT_EQ(f.race.winner(), nullptr);
  EXPECT_FALSE(f.race.empty());
  EXPECT_TRUE(f.race.Settle(slow.context.get())->losers.empty());
}

TEST(AttemptRaceTest, AnAnswerThatBrokeOffIsFollowedByAnother) {
  Fixture f;
  const AttemptRace::Attempt broken = f.Begin(0);
  f.race.Settle(broken.context.get());
  f.race.TakeRunning(broken.context.get());
  f.race.Reopen();
  const AttemptRace::Attempt next = f.Begin(3, /*hedge=*/true);
  EXPECT_TRUE(f.race.Alone(next.context.get()));
  EXPECT_EQ(f.race.Settle(next.context.get())->began, next.began);
  EXPECT_EQ(f.race.winner_target(), &f.second);
}

}  // namespace
}  // namespace hadal::client
