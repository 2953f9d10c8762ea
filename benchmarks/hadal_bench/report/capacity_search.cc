// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/report/capacity_search.h"

#include <cmath>

namespace hadal::bench {

std::optional<double> CapacitySearch::NextRate() const {
  if (points_left_ <= 0) return std::nullopt;
  if (met_ > 0 && failed_ > 0 && failed_ <= met_ * (1 + precision_)) return std::nullopt;
  return next_;
}

void CapacitySearch::Add(double rate, bool met) {
  --points_left_;
  if (met) {
    met_ = rate;  // every rate that is asked for lies between the two
  } else {
    failed_ = rate;
  }
  next_ = failed_ == 0 ? met_ * 2 : met_ == 0 ? failed_ / 2 : std::sqrt(met_ * failed_);
}

}  // namespace hadal::bench
