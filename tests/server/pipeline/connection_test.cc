// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/connection.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::pipeline {
namespace {

using ::testing::HasSubstr;

// Both ends of a connection.
class ConnectionTest : public ::testing::Test {
 protected:
  ConnectionTest() {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    near_ = std::make_unique<Connection>(fds[0], "near");
    far_ = std::make_unique<Connection>(fds[1], "far");
    raw_ = ::dup(fds[1]);
  }
  ~ConnectionTest() override { ::close(raw_); }

  void SendRaw(const std::vector<uint8_t>& bytes) {
    ASSERT_EQ(::write(raw_, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }

  static std::vector<std::byte> Bytes(size_t count) {
    std::vector<std::byte> bytes(count);
    for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(i * 7);
    return bytes;
  }

  std::unique_ptr<Connection> near_, far_;
  int raw_ = -1;
  std::vector<std::byte> payload_;
};

TEST_F(ConnectionTest, CarriesMessagesInOrder) {
  const std::vector<std::byte> head = Bytes(3), tail = Bytes(5);
  ASSERT_TRUE(far_->Send(MessageType::kStep, head, tail).ok());
  ASSERT_TRUE(far_->Send(MessageType::kAllocated, {}).ok());
  const auto first = near_->Receive(8, &payload_);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(*first, MessageType::kStep);
  std::vector<std::byte> joined = head;
  joined.insert(joined.end(), tail.begin(), tail.end());
  EXPECT_EQ(payload_, joined);
  EXPECT_EQ(*near_->Receive(8, &payload_), MessageType::kAllocated);
  EXPECT_TRUE(payload_.empty());
  EXPECT_EQ(far_->sent_bytes(), 2 * 16u + 8u);
}

TEST_F(ConnectionTest, CarriesMoreThanTheSocketHolds) {
  const std::vector<std::byte> large = Bytes(5'000'000);
  std::thread sender([&] { EXPECT_TRUE(far_->Send(MessageType::kStep, Bytes(10), large).ok()); });
  const auto type = near_->Receive(10'000'000, &payload_);
  sender.join();
  ASSERT_TRUE(type.ok()) << type.status();
  ASSERT_EQ(payload_.size(), large.size() + 10);
  EXPECT_EQ(std::memcmp(payload_.data() + 10, large.data(), large.size()), 0);
}

TEST_F(ConnectionTest, RefusesALongerMessageThanExpectedUnread) {
  ASSERT_TRUE(far_->Send(MessageType::kHello, Bytes(100)).ok());
  EXPECT_EQ(near_->Receive(99, &payload_).status(),
            absl::InvalidArgumentError("near: message hello of 100 bytes, limit 99"));
}

TEST_F(ConnectionTest, AnAnnouncedLengthAllocatesNothing) {
  // A step of 2^40 bytes of which eight come.
  SendRaw({'H', 'D', 'P', 'L', 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8});
  far_->ShutDown();
  EXPECT_EQ(near_->Receive(int64_t{1} << 50, &payload_).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_LE(payload_.capacity(), 64u * 1024);
}

TEST_F(ConnectionTest, RefusesBytesThatAreNoMessage) {
  SendRaw({'G', 'E', 'T', ' ', '/', ' ', 'H', 'T', 'T', 'P', '/', '1', '.', '1', 13, 10});
  EXPECT_THAT(std::string(near_->Receive(100, &payload_).status().message()), HasSubstr("no message of a pipeline"));
}

TEST_F(ConnectionTest, RefusesAnUnknownType) {
  SendRaw({'H', 'D', 'P', 'L', 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_THAT(std::string(near_->Receive(100, &payload_).status().message()), HasSubstr("no message of a pipeline"));
}

TEST_F(ConnectionTest, TellsOfAnEndInTheMiddle) {
  SendRaw({'H', 'D', 'P', 'L', 10, 0});
  far_->ShutDown();
  EXPECT_EQ(near_->Receive(100, &payload_).status(), absl::UnavailableError("near: the connection was closed"));
  EXPECT_EQ(near_->Send(MessageType::kStep, {}).code(), absl::StatusCode::kUnavailable);
}

TEST_F(ConnectionTest, WaitsUntilTheDeadline) {
  EXPECT_EQ(near_->Receive(100, &payload_, absl::Now() + absl::Milliseconds(20)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(ConnectionTest, ShutDownEndsAWait) {
  std::thread receiver(
      [&] { EXPECT_EQ(near_->Receive(100, &payload_).status().code(), absl::StatusCode::kUnavailable); });
  near_->ShutDown();
  receiver.join();
}

TEST_F(ConnectionTest, ShutDownReceivingLeavesTheOtherDirection) {
  near_->ShutDownReceiving();
  EXPECT_EQ(near_->Receive(100, &payload_).status().code(), absl::StatusCode::kUnavailable);
  ASSERT_TRUE(near_->Send(MessageType::kError, Bytes(4)).ok());
  EXPECT_EQ(*far_->Receive(100, &payload_), MessageType::kError);
}

TEST(ListenTest, ConnectsOverTcp) {
  const auto fd = Listen("127.0.0.1", 0);
  ASSERT_TRUE(fd.ok()) << fd.status();
  const std::string address = absl::StrCat("127.0.0.1:", ListeningPort(*fd));
  auto near = Connection::Open(address, absl::Now() + absl::Seconds(30));
  ASSERT_TRUE(near.ok()) << near.status();
  EXPECT_EQ((*near)->peer(), address);
  Connection far(::accept(*fd, nullptr, nullptr), "far");
  ASSERT_TRUE((*near)->Send(MessageType::kWelcome, {}).ok());
  std::vector<std::byte> payload;
  EXPECT_EQ(*far.Receive(10, &payload), MessageType::kWelcome);
  ::close(*fd);
  EXPECT_EQ(Connection::Open(address, absl::Now() + absl::Seconds(30)).status().code(), absl::StatusCode::kUnavailable);
}

TEST(ListenTest, NamesAnAddressThatIsTaken) {
  const auto fd = Listen("127.0.0.1", 0);
  ASSERT_TRUE(fd.ok()) << fd.status();
  const int port = ListeningPort(*fd);
  EXPECT_THAT(std::string(Listen("127.0.0.1", port).status().message()),
              HasSubstr(absl::StrCat("--host=127.0.0.1 --port=", port, ": Address already in use")));
  ::close(*fd);
}

}  // namespace
}  // namespace hadal::pipeline
