// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "server/service/call_record.h"

namespace hadal::service {

// The headers or metadata that limit a caller's waiting time; empty if absent.
struct LimitHeaders {
  std::string_view deadline_ms;   // x-hadal-deadline-ms: of the whole answer, in milliseconds
  std::string_view queue;         // x-hadal-queue: "no" is start now or refuse
  std::string_view sdk_timeout;   // x-stainless-timeout: seconds that an SDK waits for the first byte
  std::string_view read_timeout;  // x-stainless-read-timeout: seconds that it waits for more
  std::string_view slo_ttft_ms;   // x-llm-d-slo-ttft-ms: milliseconds to the first token
};

// Stores them in `info`, whose arrival must be set. The tightest limit applies; SDK time-outs count only without
// x-hadal-deadline-ms. OUT_OF_RANGE if one of our own headers cannot be parsed; unreadable headers of SDKs are ignored.
absl::Status ReadLimits(const LimitHeaders& headers, CallInfo* info);

}  // namespace hadal::service
