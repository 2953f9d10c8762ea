// SPDX-License-Identifier: Apache-2.0
#include "server/kv_events/replay_buffer.h"

#include <gtest/gtest.h>

namespace hadal::kv_events {
namespace {

SentBatch Batch(uint64_t sequence, size_t bytes) {
  return {sequence, std::make_shared<const std::string>("topic"), std::make_shared<const std::string>(bytes, 'x')};
}

TEST(ReplayBufferTest, FindsWhereToBegin) {
  ReplayBuffer buffer(3, 1000);
  EXPECT_EQ(buffer.From(0), 0u);
  for (uint64_t sequence = 0; sequence < 5; ++sequence) buffer.Add(Batch(sequence, 10));
  ASSERT_EQ(buffer.batches().size(), 3u);
  EXPECT_EQ(buffer.batches().front().sequence, 2u);
  EXPECT_EQ(buffer.From(0), 0u) << "what is no longer there cannot be given";
  EXPECT_EQ(buffer.From(2), 0u);
  EXPECT_EQ(buffer.From(4), 2u);
  EXPECT_EQ(buffer.From(5), 3u);
  EXPECT_EQ(buffer.From(UINT64_MAX), 3u);
}

TEST(ReplayBufferTest, HoldsSoManyBytesAndAlwaysTheNewest) {
  ReplayBuffer buffer(100, 1000);
  for (uint64_t sequence = 0; sequence < 4; ++sequence) buffer.Add(Batch(sequence, 400));
  EXPECT_EQ(buffer.batches().size(), 2u);
  buffer.Add(Batch(4, 5000));
  ASSERT_EQ(buffer.batches().size(), 1u);
  EXPECT_EQ(buffer.batches().front().sequence, 4u);
  buffer.Add(Batch(5, 10));
  EXPECT_EQ(buffer.batches().size(), 1u);
  EXPECT_EQ(buffer.batches().front().sequence, 5u);
}

}  // namespace
}  // namespace hadal::kv_events
