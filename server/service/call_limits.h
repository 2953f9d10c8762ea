// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "server/service/call_record.h"

namespace hadal::service {

// How long a caller waits, as the headers or metadata of a request say it; empty: not said.
struct LimitHeaders {
  std::string_view deadline_ms;   // x-hadal-deadline-ms: of the whole answer, in milliseconds
  std::string_view queue;         // x-hadal-queue: "no" is start now or refuse
  std::string_view sdk_timeout;   // x-stainless-timeout: seconds that an SDK waits for the first byte
  std::string_view read_timeout;  // x-stainless-read-timeout: seconds that it waits for more
  std::string_view slo_ttft_ms;   // x-llm-d-slo-ttft-ms: milliseconds to the first token
};

// Puts them into `info`, whose arrival is set. The tightest limit counts; those of SDKs only without
// x-hadal-deadline-ms. OUT_OF_RANGE for a value of ours that cannot be read; one of theirs is passed over.
absl::Status ReadLimits(const LimitHeaders& headers, CallInfo* info);

}  // namespace hadal::service
