// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/replay_reader.h"

#include <atomic>
#include <memory>

#include "gtest/gtest.h"
#include "server/base/notification.h"
#include "tests/support/status_matchers.h"

namespace hadal::response_cache {
namespace {

RecordedOutput Output(int tokens) {
  RecordedOutput output;
  for (int i = 0; i < tokens; ++i) output.tokens.push_back({.choice = 0, .token_id = i});
  output.ends.push_back({.choice = 0, .reason = request::FinishReason::kStop});
  output.cached_tokens = 3;
  return output;
}

TEST(ReplayReaderTest, GivesEverythingAtOnce) {
  ReplayReader reader(Output(5));
  const request::StreamBatch batch = reader.Read();
  EXPECT_EQ(batch.tokens.size(), 5u);
  EXPECT_EQ(batch.ends.size(), 1u);
  EXPECT_TRUE(batch.started && batch.closed && batch.status.ok());
  EXPECT_EQ(batch.usage.cached_tokens, 3);
  EXPECT_TRUE(reader.Read().tokens.empty());
  EXPECT_TRUE(reader.Read().closed);
}

TEST(ReplayReaderTest, KeepsAPace) {
  Timer timer(base::Clock::Real());
  const absl::Time begun = base::Clock::Real()->Now();
  ReplayReader reader(Output(21), {.tokens_per_second = 100, .timer = &timer});
  size_t tokens = 0;
  request::StreamBatch batch;
  while (!batch.closed) {
    batch = reader.ReadBlocking(absl::Seconds(20));
    tokens += batch.tokens.size();
  }
  EXPECT_EQ(tokens, 21u);
  EXPECT_GE(base::Clock::Real()->Now() - begun, absl::Milliseconds(200)) << "the 21st is due after 20/100 s";
}

TEST(ReplayReaderTest, TellsWhenATokenIsDue) {
  Timer timer(base::Clock::Real());
  base::Notification told;
  auto notifier = std::make_shared<request::Notifier>([&] { told.Notify(); });
  {
    ReplayReader reader(Output(2), {.tokens_per_second = 1, .timer = &timer, .notifier = notifier});
    EXPECT_FALSE(reader.Read().closed);
    EXPECT_TRUE(told.WaitFor(absl::Seconds(20)));
    EXPECT_TRUE(reader.ReadBlocking(absl::Seconds(20)).closed);
  }
  notifier->Disconnect();
}

TEST(ReplayReaderTest, CanBeCancelled) {
  Timer timer(base::Clock::Real());
  ReplayReader reader(Output(2), {.tokens_per_second = 0.001, .timer = &timer});
  EXPECT_EQ(reader.Read().tokens.size(), 1u);
  reader.Cancel();
  const request::StreamBatch batch = reader.ReadBlocking(absl::Seconds(20));
  EXPECT_TRUE(batch.closed);
  EXPECT_REASON(batch.status, request::Reason::kCancelled);
}

}  // namespace
}  // namespace hadal::response_cache
