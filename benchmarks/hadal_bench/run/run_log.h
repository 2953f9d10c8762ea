// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "benchmarks/hadal_bench/report/histogram.h"
#include "benchmarks/hadal_bench/run/request_record.h"

namespace hadal::bench {

// Everything that one run leaves behind; reports are made from it alone.
struct RunLog {
  std::vector<RequestRecord> records;           // in the order of scheduled_s
  Histogram gaps;                               // between pieces of content of measured requests, pooled
  Histogram lag;                                // from when an attempt was due until the generator began it
  double warmup_s = 0;                          // requests scheduled before are not measured
  double duration_s = 0;                        // arrivals were planned up to here
  double ended_s = 0;                           // when the run was over, the drain included
  double cpu_s = 0;                             // processor time of the generator
  bool interrupted = false;                     // ended by a signal; what was open then is unfinished
  double interrupted_s = 0;                     // when
  std::map<std::string, std::string> messages;  // the first of each reason of a refusal or failure, at most 200 bytes
  int64_t connection_waits = 0;                 // calls that waited for one of --max-connections
};

// What the progress line shows.
struct RunProgress {
  double now_s = 0, duration_s = 0;
  int64_t sent = 0, served = 0, refused_attempts = 0, failed = 0, open = 0, waiting_to_retry = 0;
  double lag_p99_s = 0;
};

}  // namespace hadal::bench
