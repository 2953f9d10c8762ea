// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "benchmarks/hadal_bench/report/histogram.h"
#include "benchmarks/hadal_bench/report/slo.h"
#include "benchmarks/hadal_bench/run/run_log.h"
#include "benchmarks/hadal_bench/workload/traffic_mix.h"

namespace hadal::bench {

struct ReportOptions {
  std::vector<Slo> slos;  // at least one; the first counts where one number is wanted
  bool slo_from_attempt = false;
  std::vector<TrafficShare> classes, tenants;
  double window_s = 1;  // of the time series
};

// Requests of one kind (a length class, a traffic class, a tenant, or all) and how they fared.
struct GroupReport {
  std::string name;
  int64_t offered = 0, served = 0, refused = 0, failed = 0, unfinished = 0, met = 0;
  int64_t attempts = 0;
  int64_t served_in_load = 0, attempts_of_served_in_load = 0;  // whose last attempt began before the arrivals ended
  Histogram ttft;
  double AdmissionRatio() const;  // served of offered
  double SloRatio() const;        // served within the first SLO, of offered
};

struct GoodputReport {
  Slo slo;
  int64_t met = 0;  // measured requests that met it
  // By the clock: requests that met it and ended within the measured part, and their prompt and output tokens. Requests
  // that end in the drain would make a rate above what the server can do.
  int64_t requests = 0, tokens = 0;
};

// What hints were worth. Every refusal with a hint whose client came back is a return. Those that came back when no new
// requests came any more would have been admitted at any time, and are counted apart.
struct RetryReport {
  int64_t hints = 0;                          // refusals that named a time
  int64_t tickets = 0;                        // attempts that brought the ticket of the refusal before
  int64_t early = 0;                          // first returns before the named time; not counted below
  int64_t after_load = 0;                     // first returns after the last arrival; not counted below
  int64_t returns = 0, returns_admitted = 0;  // first returns; admitted: the attempt was not refused
  int64_t held = 0, held_admitted = 0;        // of them, promises (x-hadal-promise: held)
  Histogram late;                             // how long after the hint the client came back
  // Of served requests that were refused first: |hint - wait| / wait, wait being the time from the first refusal until
  // the attempt that was admitted. A hint that is longer than needed cannot be seen from outside.
  std::vector<double> errors;
  double MedianError() const;  // 0 without errors
};

// One second (or window_s) of the run, by the clock; warm-up included.
struct WindowReport {
  double from_s = 0;
  int64_t arrivals = 0, attempts = 0, served = 0, refused_attempts = 0, failed = 0;  // served, failed: by their end
  int64_t good_tokens = 0, output_tokens = 0;                                        // by their end
  int64_t offered_tokens = 0;  // planned prompt and output tokens of the arrivals
  Histogram ttft, tpot, e2e;   // of requests scheduled in it
};

struct Report {
  double measured_s = 0;  // length of the measured part: after the warm-up, before the end of arrivals
  int64_t completed = 0, completed_output_tokens = 0;  // served within the measured part, by the clock
  int64_t warmup_requests = 0;                         // excluded
  GroupReport all;
  std::vector<GroupReport> by_length, by_class, by_tenant;  // the latter two only where the run had some
  std::map<std::string, int64_t> refusals;                  // attempts by reason
  std::map<std::string, int64_t> failures;                  // attempts by reason
  std::map<std::string, int64_t> finish_reasons;
  Histogram ttft, attempt_ttft, itl, tpot, e2e, refusal, lag;  // refusal: from an attempt's start to its refusal
  std::vector<GoodputReport> goodput;
  int64_t prompt_tokens = 0, output_tokens = 0, cached_tokens = 0;  // of served requests
  int64_t planned_prompt_tokens = 0, planned_output_tokens = 0;     // of them, too
  int64_t without_usage = 0;                                        // served requests whose tokens are estimates
  RetryReport retry;
  std::vector<WindowReport> windows;
};

// Numbers of requests scheduled within the measured part, whenever they ended. Requests that a signal kept from being
// sent are left out.
Report BuildReport(const RunLog& log, const ReportOptions& options);

}  // namespace hadal::bench
