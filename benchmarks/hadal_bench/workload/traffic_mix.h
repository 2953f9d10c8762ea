// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace hadal::bench {

// One kind of sender: who gets which share of the requests.
struct TrafficShare {
  std::string name;   // shown in reports: the class or the tenant
  std::string value;  // what is sent: the class, or the tenant's key
  double weight = 1;
};

// Classes as "high:0.1,normal:0.9". The names go to the server in x-hadal-priority.
absl::StatusOr<std::vector<TrafficShare>> ParseClasses(std::string_view text);
// One tenant as "NAME=KEY" or "NAME=KEY:WEIGHT"; reports show the name and never the key.
absl::StatusOr<TrafficShare> ParseTenant(std::string_view text);

// The index of the share that `u` in [0, 1) falls into; 0 for no shares.
int ChooseShare(const std::vector<TrafficShare>& shares, double u);

}  // namespace hadal::bench
