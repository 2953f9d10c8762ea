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

  // The gap that a random moment falls into is a long one (its density is that of gaps times their length), and a part
  // of it has passed.
  double First() {
    if (kind_ != ArrivalKind::kGamma) return Next();
    std::gamma_distribution<double> around(gamma_.alpha() + 1, gamma_.beta());
    return around(random_) * std::uniform_real_distribution<double>()(random_);
  }

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
  double count = options.from_arrival ? gaps.Next() : gaps.First();
  for (; count < expected; count += gaps.Next()) arrivals.push_back(profile.InverseCumulative(count));
  return arrivals;
}

}  // namespace hadal::bench
