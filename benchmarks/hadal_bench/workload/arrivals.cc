// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/workload/arrivals.h"

#include <random>

namespace hadal::bench {
namespace {

// Draws one gap with mean 1.
class UnitGaps {
 public:
  explicit UnitGaps(const ArrivalOptions& options)
      : kind_(options.kind), random_(options.seed), gamma_(1 / (options.cv * options.cv), options.cv * options.cv) {}

  double Next() {
    switch (kind_) {
      case ArrivalKind::kPoisson:
        return exponential_(random_);
      case ArrivalKind::kGamma:
        return gamma_(random_);
      case ArrivalKind::kConstant:
        break;
    }
    return 1;
  }

 private:
  const ArrivalKind kind_;
  std::mt19937_64 random_;
  std::exponential_distribution<double> exponential_{1.0};
  std::gamma_distribution<double> gamma_;
};

}  // namespace

std::vector<double> DrawArrivals(const ArrivalOptions& options, const RateProfile& profile) {
  UnitGaps gaps(options);
  std::vector<double> arrivals;
  const double expected = profile.Cumulative(profile.duration_s());
  double count = 0;
  while ((count += gaps.Next()) < expected) arrivals.push_back(profile.InverseCumulative(count));
  return arrivals;
}

}  // namespace hadal::bench
