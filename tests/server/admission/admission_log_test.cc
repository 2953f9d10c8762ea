// SPDX-License-Identifier: Apache-2.0
#include "server/admission/admission_log.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

TEST(AdmissionLogTest, WritesTheFirstLineOfASecondAndThenACount) {
  std::vector<std::string> lines;
  AdmissionLog log([&](LogSeverity, std::string_view component, std::string_view message, const LogFields&) {
    lines.push_back(std::string(component) + " " + std::string(message));
  });
  LogFields full;
  full.reason = request::Reason::kConnectionQueueFull;
  LogFields memory;
  memory.reason = request::Reason::kGpuMemoryExhausted;
  absl::Time now = absl::FromUnixSeconds(100);
  for (int i = 0; i < 30000; ++i) log.Refusal(now, LogSeverity::kWarning, "admission", "FULL", full);
  log.Refusal(now, LogSeverity::kError, "engine_0", "MEMORY", memory);
  EXPECT_EQ(lines, (std::vector<std::string>{"admission FULL", "engine_0 MEMORY"}));
  now += absl::Seconds(1);
  log.Refusal(now, LogSeverity::kWarning, "admission", "FULL", full);
  log.Refusal(now, LogSeverity::kError, "engine_0", "MEMORY", memory);
  EXPECT_EQ(lines, (std::vector<std::string>{"admission FULL", "engine_0 MEMORY",
                                             "admission CONNECTION_QUEUE_FULL: 29999 more in the last 1 s",
                                             "admission FULL", "engine_0 MEMORY"}));
}

TEST(AdmissionLogTest, WorksWithoutASink) {
  AdmissionLog log(nullptr);
  log.Refusal(absl::FromUnixSeconds(1), LogSeverity::kInfo, "admission", "x", {});
}

}  // namespace
}  // namespace hadal::admission
