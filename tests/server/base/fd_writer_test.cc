// SPDX-License-Identifier: Apache-2.0
#include "server/base/fd_writer.h"

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
  EXPECT_FALSE(WriteFor(ends_[1], &rest, absl::Milliseconds(50)));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  EXPECT_FALSE(rest.empty());
  EXPECT_LT(rest.size(), large.size()) << "what fits is written";
  std::string_view more = "y";
  EXPECT_FALSE(WriteFor(ends_[1], &more, absl::ZeroDuration()));
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
  EXPECT_TRUE(WriteFor(ends_[1], &rest, absl::Seconds(30)));
  reader.join();
  EXPECT_EQ(received, sent);
}

TEST_F(FdWriterTest, TextForAClosedPipeIsDropped) {
  ::close(ends_[0]);
  ends_[0] = -1;
  std::string_view rest = "lost";
  EXPECT_TRUE(WriteFor(ends_[1], &rest, absl::Seconds(30)));
  EXPECT_TRUE(rest.empty());
}

}  // namespace
}  // namespace hadal::base
