// SPDX-License-Identifier: Apache-2.0
#include "server/base/process_limits.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::base {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Runs `body` in a child: limits cannot be raised again.
bool InChild(const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body() ? 0 : 1);
  int status = -1;
  ::waitpid(child, &status, 0);
  return status == 0;
}

// No thread can be started any more: none has room for such a stack.
void RefuseThreads() {
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, size_t{1} << 47);
  ASSERT_EQ(::pthread_setattr_default_np(&attributes), 0);
}

bool SetDescriptors(rlim_t soft, rlim_t hard) {
  const rlimit limits{soft, hard};
  return ::setrlimit(RLIMIT_NOFILE, &limits) == 0;
}

TEST(ProcessLimitsTest, ThreadsThatTheSystemGrantsAreEnough) { EXPECT_TRUE(CheckThreads(8).ok()); }

TEST(ProcessLimitsTest, ARefusedThreadIsAnErrorWithTheLimits) {
  EXPECT_TRUE(InChild([] {
    RefuseThreads();
    const absl::Status status = CheckThreads(8);
    const std::string text(status.message());
    return absl::IsResourceExhausted(status) && text.find("8 threads are needed, but the system allows only 0") == 0 &&
           text.find(ThreadLimits()) != std::string::npos;
  }));
}

TEST(ProcessLimitsTest, TheUsersLimitOfThreadsIsNamed) {
  EXPECT_TRUE(InChild([] {
    const rlimit limits{12345, 12345};
    return ::setrlimit(RLIMIT_NPROC, &limits) == 0 && ThreadLimits().find("ulimit -u is 12345") == 0;
  }));
}

TEST(ProcessLimitsTest, TheSoftLimitOfDescriptorsIsRaisedToWhatIsNeeded) {
  EXPECT_TRUE(
      InChild([] { return SetDescriptors(20, 100) && CheckDescriptors(60).ok() && *RaiseDescriptorLimit(1) == 60; }));
  EXPECT_TRUE(
      InChild([] { return SetDescriptors(80, 100) && CheckDescriptors(60).ok() && *RaiseDescriptorLimit(1) == 80; }));
}

TEST(ProcessLimitsTest, TooFewDescriptorsAreAnErrorWithBothNumbers) {
  EXPECT_TRUE(InChild([] {
    if (!SetDescriptors(20, 30)) return false;
    const absl::Status status = CheckDescriptors(60);
    return absl::IsResourceExhausted(status) &&
           status.message() == "at least 60 file descriptors are needed, but ulimit -n is 30: raise the hard limit";
  }));
}

// The test's frame would catch what it throws.
void StartThread() noexcept {
  std::thread([] {}).join();
}

TEST(ProcessLimitsDeathTest, AThreadThatCannotStartEndsTheProcessWithTheLimits) {
  EXPECT_EXIT(
      {
        ExitWhenExhausted();
        RefuseThreads();
        StartThread();
      },
      ::testing::ExitedWithCode(1), AllOf(HasSubstr("hadal: cannot start a thread: "), HasSubstr(ThreadLimits())));
}

TEST(ProcessLimitsDeathTest, MemoryThatRunsOutEndsTheProcess) {
  EXPECT_EXIT(
      {
        ExitWhenExhausted();
        std::thread([] { throw std::bad_alloc(); }).join();
      },
      ::testing::ExitedWithCode(1), AllOf(HasSubstr("hadal: out of memory: "), HasSubstr("ulimit -v is ")));
}

TEST(ProcessLimitsDeathTest, OtherExceptionsAbortAsBefore) {
  EXPECT_EXIT(
      {
        ExitWhenExhausted();
        std::thread([] { throw std::logic_error("a fault of ours"); }).join();
      },
      ::testing::KilledBySignal(SIGABRT), "a fault of ours");
}

}  // namespace
}  // namespace hadal::base
