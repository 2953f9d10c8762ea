// SPDX-License-Identifier: Apache-2.0
#include "server/base/log.h"

#include <unistd.h>

#include <chrono>
#include <string>

#include "gtest/gtest.h"
#include "server/base/log_options.h"

namespace hadal::base {
namespace {

// Standard output as a pipe, for the time of a test.
class LogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::pipe(ends_), 0);
    saved_ = ::dup(STDOUT_FILENO);
    ::dup2(ends_[1], STDOUT_FILENO);
  }
  void TearDown() override {
    ::dup2(saved_, STDOUT_FILENO);
    for (const int fd : {ends_[0], ends_[1], saved_}) ::close(fd);
  }
  int ends_[2];
  int saved_ = -1;
  const LogOptions options_{.format = LogFormat::kJson};
};

TEST_F(LogTest, LinesArriveWhole) {
  InitLogging(options_);
  Log(LogLevel::kInfo, "test", "first", {{"n", int64_t{1}}});
  Log(LogLevel::kWarn, "test", "second \"quoted\"");
  Log(LogLevel::kDebug, "test", "below the level");
  ShutdownLogging();
  char bytes[4096];
  const std::string text(bytes, static_cast<size_t>(std::max<ssize_t>(::read(ends_[0], bytes, sizeof(bytes)), 0)));
  EXPECT_NE(text.find(R"("component":"test","msg":"first","n":1})"
                      "\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find(R"("msg":"second \"quoted\""})"
                      "\n"),
            std::string::npos)
      << text;
  EXPECT_EQ(text.find("below"), std::string::npos);
}

TEST_F(LogTest, APipeThatNobodyReadsHoldsUpNeitherCallersNorTheEnd) {
  InitLogging(options_);
  const auto begin = std::chrono::steady_clock::now();
  const std::string line(1000, 'x');
  for (int i = 0; i < 20000; ++i) Log(LogLevel::kInfo, "test", line);
  EXPECT_GT(LogLinesDropped(), 0u);
  ShutdownLogging();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

}  // namespace
}  // namespace hadal::base
