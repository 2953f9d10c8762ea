// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "benchmarks/hadal_bench/client/attempt.h"
#include "benchmarks/hadal_bench/client/retry_policy.h"
#include "benchmarks/hadal_bench/run/run_log.h"
#include "benchmarks/hadal_bench/workload/plan.h"
#include "benchmarks/hadal_bench/workload/prompts.h"

namespace hadal::bench {

struct RunOptions {
  double warmup_s = 0;
  double duration_s = 0;
  double drain_s = 60;     // how long open requests may go on after the last arrival
  double timeout_s = 600;  // of one attempt
  CallForm form;
  std::string api_key;  // without tenants
  std::vector<TrafficShare> classes, tenants;
  std::optional<int64_t> deadline_ms;
  uint64_t seed = 1;
  uint64_t prompt_salt = 0;    // of prompts, as Prompts::Make takes it
  bool tickets = false;        // a refused request brings the ticket of its last refusal when it returns
  bool handle_signals = true;  // SIGINT and SIGTERM end the run early; a second one ends the process
  std::function<void(const RunProgress&)> progress;  // once a second; may be empty
};

// Sends a plan: each request starts at its time whatever happened to those before (open loop), and comes back as its
// client model says. Blocks until all requests have ended, the drain is over or a signal came. Runs on the calling
// thread, which becomes the thread of `io`. Borrows everything.
RunLog RunPlan(boost::asio::io_context* io, Transport* transport, RetryPolicy* policy, const Prompts& prompts,
               const TokenScale& scale, const Plan& plan, const RunOptions& options);

}  // namespace hadal::bench
