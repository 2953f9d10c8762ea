// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "benchmarks/hadal_bench/client/attempt.h"

namespace hadal::bench {

// What is kept of one attempt. Times are seconds since the start of the run.
struct AttemptRecord {
  double due_s = 0;    // when it should have started
  double start_s = 0;  // when it did
  double end_s = 0;
  CallEnd end = CallEnd::kFailed;
  int status = 0;       // HTTP status or, over gRPC, the code
  std::string reason;   // empty when served
  double hint_s = -1;   // when to return, as told; negative: not told
  std::string promise;  // x-hadal-promise
  bool ticket = false;  // it brought the ticket of the refusal before
};

// How a request ended, all its attempts together.
enum class Outcome {
  kServed,
  kRefused,     // the last attempt was refused, and the client gave up
  kFailed,      // the last attempt failed
  kUnfinished,  // the run was over first
};

// What is kept of one request.
struct RequestRecord {
  double scheduled_s = 0;  // intended send time: latency counts from here
  int planned_prompt_tokens = 0, planned_output_tokens = 0;
  int traffic_class = 0, tenant = 0;
  std::vector<AttemptRecord> attempts;
  Outcome outcome = Outcome::kUnfinished;
  std::string reason;  // of the last attempt
  // Of the served attempt:
  double first_content_s = -1, last_content_s = -1, end_s = -1;
  int pieces = 0;                                                      // pieces of content
  int prompt_tokens = -1, completion_tokens = -1, cached_tokens = -1;  // usage; -1: not reported
  std::string finish_reason;

  double ttft_s() const { return first_content_s - scheduled_s; }
  double e2e_s() const { return end_s - scheduled_s; }
  // Tokens as reported, else the best guess: what was planned for the prompt, pieces for the output.
  int prompt_count() const { return prompt_tokens >= 0 ? prompt_tokens : planned_prompt_tokens; }
  int output_count() const { return completion_tokens >= 0 ? completion_tokens : pieces; }
  // Seconds per token after the first; negative for an answer of one token.
  double tpot_s() const { return output_count() > 1 ? (end_s - first_content_s) / (output_count() - 1) : -1; }
};

}  // namespace hadal::bench
