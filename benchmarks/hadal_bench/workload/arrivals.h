// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "benchmarks/hadal_bench/workload/rate_profile.h"

namespace hadal::bench {

// How gaps between arrivals vary. All have the mean that the rate profile says.
enum class ArrivalKind {
  kPoisson,   // exponential gaps: many independent clients (CV 1)
  kGamma,     // gamma gaps with a chosen coefficient of variation; 13 is the burstiness of the Azure code trace
  kConstant,  // a metronome
};

struct ArrivalOptions {
  ArrivalKind kind = ArrivalKind::kPoisson;
  double cv = 13;  // of kGamma; standard deviation over mean of the gaps
  uint64_t seed = 1;
  // kGamma: whether an arrival is thought to be at the start, so that the first gap is like the others. The expected
  // count is then (cv^2 - 1) / 2 above what the rate says: bursts begin with arrivals. Else the start is any moment.
  bool from_arrival = false;
};

// Arrival times in seconds from the start of the run, ascending, all before the profile's duration. They are drawn in
// advance and do not depend on the server: gaps of mean 1 are stretched so that the expected count follows the profile.
// With a high CV the count of one run varies widely: its relative deviation is cv / sqrt(count).
std::vector<double> DrawArrivals(const ArrivalOptions& options, const RateProfile& profile);

}  // namespace hadal::bench
