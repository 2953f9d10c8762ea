// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "benchmarks/hadal_bench/run/request_record.h"

namespace hadal::bench {

// A service level that a served request meets or not. A limit of infinity is not asked for.
struct Slo {
  std::string name;
  double ttft_s = std::numeric_limits<double>::infinity();  // first content
  double tpot_s = std::numeric_limits<double>::infinity();  // per later token
  double e2e_s = std::numeric_limits<double>::infinity();   // whole answer

  // Of a served request. Times count from the scheduled arrival, or with `from_attempt` from the start of the attempt
  // that was served, which leaves out what a client waited between attempts.
  bool Met(const RequestRecord& record, bool from_attempt) const;
  std::string Text() const;  // "r1 (TTFT 2000 ms, TPOT 80 ms)"
};

// A set by name (MLPerf's: r1, r1-interactive, 8b, 8b-interactive, 70b, 70b-interactive) or limits in milliseconds such
// as "ttft=2000,tpot=80,e2e=30000". InvalidArgument lists what is known.
absl::StatusOr<Slo> ParseSlo(std::string_view text);

}  // namespace hadal::bench
