// SPDX-License-Identifier: Apache-2.0
#include "server/base/log.h"

#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "server/base/log_options.h"
#include "server/base/log_scope.h"

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

TEST_F(LogTest, LinesNameTheRequestThatTheThreadWorksOn) {
  InitLogging(options_);
  Log(LogLevel::kInfo, "test", "before");
  {
    const LogScope scope("r-1", "t-1");
    Log(LogLevel::kInfo, "test", "inside", {{"n", int64_t{1}}});
    Log(LogLevel::kInfo, "test", "own", {{"request_id", std::string_view("r-1-2")}});
    Log(LogLevel::kInfo, "test", "other", {{"request_id", std::string_view("r-12")}});
    {
      const LogScope hidden({}, {});
      Log(LogLevel::kInfo, "test", "hidden");
    }
    const LogScope untraced("r-2", "");
    Log(LogLevel::kInfo, "test", "untraced");
  }
  std::thread([] { Log(LogLevel::kInfo, "test", "elsewhere"); }).join();
  Log(LogLevel::kInfo, "test", "after");
  ShutdownLogging();
  char bytes[4096];
  const std::string text(bytes, static_cast<size_t>(std::max<ssize_t>(::read(ends_[0], bytes, sizeof(bytes)), 0)));
  for (const std::string line :
       {R"("msg":"before"})", R"("msg":"inside","n":1,"request_id":"r-1","trace_id":"t-1"})",
        R"("msg":"own","request_id":"r-1-2","trace_id":"t-1"})", R"("msg":"other","request_id":"r-12"})",
        R"("msg":"hidden"})", R"("msg":"untraced","request_id":"r-2"})", R"("msg":"elsewhere"})",
        R"("msg":"after"})"}) {
    EXPECT_NE(text.find(line + "\n"), std::string::npos) << line << " is not in\n" << text;
  }
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
