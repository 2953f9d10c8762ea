// SPDX-License-Identifier: Apache-2.0
#include "server/base/fd_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <string>
#include <thread>

#include "gtest/gtest.h"

namespace hadal::base {
namespace {

class FdWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);
    ASSERT_EQ(::pipe(ends_), 0);
  }
  void TearDown() override {
    if (ends_[0] >= 0) ::close(ends_[0]);
    ::close(ends_[1]);
  }
  int ends_[2];  // a blocking pipe: what is written to [1] is read from [0]
};

TEST_F(FdWriterTest, AFullPipeIsNotWaitedForLongerThanTold) {
  const std::string large(1 << 20, 'x');
  std::string_view rest = large;
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(WriteFor(ends_[1], &rest, absl::Milliseconds(50)), WriteResult::kTimedOut);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  EXPECT_FALSE(rest.empty());
  EXPECT_LT(rest.size(), large.size()) << "what fits is written";
  std::string_view more = "y";
  EXPECT_EQ(WriteFor(ends_[1], &more, absl::ZeroDuration()), WriteResult::kTimedOut);
  EXPECT_EQ(more, "y");
}

TEST_F(FdWriterTest, GoesOnWhenSomebodyReads) {
  std::string sent;
  for (int i = 0; sent.size() < 1 << 20; ++i) sent += std::to_string(i);
  std::string received;
  std::thread reader([&] {
    char bytes[4096];
    while (received.size() < sent.size()) {
      const ssize_t size = ::read(ends_[0], bytes, sizeof(bytes));
      if (size <= 0) break;
      received.append(bytes, static_cast<size_t>(size));
    }
  });
  std::string_view rest = sent;
  EXPECT_EQ(WriteFor(ends_[1], &rest, absl::Seconds(30)), WriteResult::kWritten);
  reader.join();
  EXPECT_EQ(received, sent);
}

TEST_F(FdWriterTest, TextForAClosedPipeFails) {
  ::close(ends_[0]);
  ends_[0] = -1;
  std::string_view rest = "lost";
  EXPECT_EQ(WriteFor(ends_[1], &rest, absl::Seconds(30)), WriteResult::kFailed);
  EXPECT_EQ(rest, "lost");
}

TEST(FdWriterDiskTest, AFullDiskFails) {
  const int full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
  ASSERT_GE(full, 0);
  std::string_view rest = "lost";
  EXPECT_EQ(WriteFor(full, &rest, absl::Seconds(30)), WriteResult::kFailed);
  ::close(full);
}

}  // namespace
}  // namespace hadal::base
