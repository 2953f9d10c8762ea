// SPDX-License-Identifier: Apache-2.0
#include "server/commands/admission_log_sink.h"

#include <unistd.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/base/log.h"
#include "server/base/log_options.h"

namespace hadal::commands {
namespace {

using admission::LogFields;
using admission::LogSeverity;
using ::testing::HasSubstr;

// What the server's log on standard output holds after one line of admission.
std::string Written(const std::string& message, const LogFields& fields) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const int saved = ::dup(STDOUT_FILENO);
  ::dup2(ends[1], STDOUT_FILENO);
  base::InitLogging({.format = base::LogFormat::kJson});
  MakeLogSink()(LogSeverity::kWarning, "admission", message, fields);
  base::ShutdownLogging();
  ::dup2(saved, STDOUT_FILENO);
  char bytes[4096];
  const ssize_t size = ::read(ends[0], bytes, sizeof(bytes));
  for (const int fd : {ends[0], ends[1], saved}) ::close(fd);
  return std::string(bytes, size > 0 ? static_cast<size_t>(size) : 0);
}

TEST(AdmissionLogSinkTest, OnlyWhatIsKnownIsWritten) {
  LogFields fields{.reason = request::Reason::kConnectionQueueFull, .request_id = "req-1", .retry_after_ms = 2400};
  EXPECT_THAT(Written("full", fields),
              HasSubstr(R"("msg":"full","reason":"CONNECTION_QUEUE_FULL","request_id":"req-1",)"
                        R"("class":"normal","retry_after_ms":2400})"));
  fields.reason = request::Reason::kGpuMemoryExhausted;
  fields.required_bytes = 6200;
  fields.available_bytes = 0;  // says something here: nothing is left
  EXPECT_THAT(Written("memory", fields), HasSubstr(R"("class":"normal","required_bytes":6200,"available_bytes":0,)"
                                                   R"("retry_after_ms":2400})"));
}

TEST(AdmissionLogSinkTest, ARequestThatWasQueuedBringsItsTrace) {
  const LogFields fields{
      .reason = request::Reason::kWaitLimit, .request_id = "req-1", .trace_id = "0af7651916cd43dd8448eb211c80319c"};
  const std::string line = Written("late", fields);
  EXPECT_THAT(line, HasSubstr(R"("request_id":"req-1")"));
  EXPECT_THAT(line, HasSubstr(R"("trace_id":"0af7651916cd43dd8448eb211c80319c")"));
}

TEST(AdmissionLogSinkTest, ACountOfRefusalsIsNoRequests) {
  EXPECT_THAT(Written("WAIT_LIMIT: 7 more in the last 1 s", {.reason = request::Reason::kWaitLimit}),
              HasSubstr(R"(last 1 s","reason":"WAIT_LIMIT"})"));
}

}  // namespace
}  // namespace hadal::commands
