// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace hadal::top {

// One answer of GET /metrics: the samples of Prometheus text format 0.0.4, by name. Plain data.
class Scrape {
 public:
  struct Sample {
    std::map<std::string, std::string> labels;
    double value = 0;
  };

  // Lines that are no samples are passed over. `at`: when it was asked for.
  static Scrape Parse(std::string_view text, absl::Time at);

  absl::Time at() const { return at_; }
  const std::vector<Sample>& All(const std::string& name) const;
  // Over all series of the name; 0 where there is none.
  double Sum(const std::string& name) const;
  // The sums by the value of a label; series without it are left out.
  std::map<std::string, double> By(const std::string& name, const std::string& label) const;
  // A histogram's cumulative counts by upper bound (+Inf last), over all other labels.
  std::map<double, double> Buckets(const std::string& name) const;

 private:
  absl::Time at_;
  std::map<std::string, std::vector<Sample>, std::less<>> samples_;
};

// What a counter grew by; one that is smaller than before has begun again from 0.
double Growth(double before, double now);
// Growth a second of a counter with all its series.
double Rate(const Scrape& before, const Scrape& now, const std::string& name);
// The q-quantile of what a histogram took in between two scrapes, linear inside a bucket, the lower bound in the last;
// nullopt when that was nothing.
std::optional<double> Quantile(const Scrape& before, const Scrape& now, const std::string& name, double q);
// The mean of what a histogram took in; nullopt when that was nothing.
std::optional<double> Mean(const Scrape& before, const Scrape& now, const std::string& name);

}  // namespace hadal::top
