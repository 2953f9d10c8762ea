// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/inbox.h"

#include <sys/socket.h>

#include <cstddef>
#include <memory>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::pipeline {
namespace {

class InboxTest : public ::testing::Test {
 protected:
  InboxTest() {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    near_ = std::make_unique<Connection>(fds[0], "near");
    far_ = std::make_unique<Connection>(fds[1], "far");
  }
  std::unique_ptr<Connection> near_, far_;
  std::vector<std::byte> payload_;
};

TEST_F(InboxTest, GivesMessagesInOrderAndThenTheEnd) {
  Inbox inbox(near_.get(), 1'000'000);
  // More than the socket and the inbox hold together: it stops reading until somebody takes them.
  std::thread sender([&] {
    for (int i = 0; i < 20; ++i) {
      EXPECT_TRUE(far_->Send(MessageType::kStep, std::vector<std::byte>(900'000, static_cast<std::byte>(i))).ok());
    }
    far_.reset();
  });
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(*inbox.Next(&payload_), MessageType::kStep);
    EXPECT_EQ(payload_, std::vector<std::byte>(900'000, static_cast<std::byte>(i)));
  }
  sender.join();
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(absl::IsUnavailable(inbox.Next(&payload_).status()));
}

TEST_F(InboxTest, ReceivesWhileNobodyAsks) {
  Inbox inbox(near_.get(), 1'000'000);
  // A socket does not hold them.
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(far_->Send(MessageType::kStep, std::vector<std::byte>(1'000'000)).ok());
  }
  EXPECT_EQ(*inbox.Next(&payload_), MessageType::kStep);
  EXPECT_EQ(payload_.size(), 1'000'000u);
}

TEST_F(InboxTest, AMessageBeyondTheLimitIsItsEnd) {
  Inbox inbox(near_.get(), 10);
  ASSERT_TRUE(far_->Send(MessageType::kAllocate, std::vector<std::byte>(3)).ok());
  ASSERT_TRUE(far_->Send(MessageType::kStep, std::vector<std::byte>(11)).ok());
  EXPECT_EQ(*inbox.Next(&payload_), MessageType::kAllocate);
  EXPECT_TRUE(absl::IsInvalidArgument(inbox.Next(&payload_).status()));
}

TEST_F(InboxTest, EndsWhileItWaitsAndWhileItIsFull) {
  { Inbox waiting(near_.get(), 10); }
  int fds[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  Connection full_end(fds[0], "near"), sender(fds[1], "far");
  Inbox full(&full_end, 10);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(sender.Send(MessageType::kStep, std::vector<std::byte>(3)).ok());
  EXPECT_EQ(*full.Next(&payload_), MessageType::kStep);
}

}  // namespace
}  // namespace hadal::pipeline
