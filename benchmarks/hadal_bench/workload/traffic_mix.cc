// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/workload/traffic_mix.h"

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/strings.h"

namespace hadal::bench {

absl::StatusOr<std::vector<TrafficShare>> ParseClasses(std::string_view text) {
  std::vector<TrafficShare> shares;
  for (absl::string_view part : absl::StrSplit(base::View(text), ',')) {
    const size_t colon = part.find(':');
    TrafficShare share;
    share.name = share.value = std::string(absl::StripAsciiWhitespace(part.substr(0, colon)));
    if (share.name.empty() ||
        (colon != absl::string_view::npos && !absl::SimpleAtod(part.substr(colon + 1), &share.weight)) ||
        !(share.weight > 0)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "expected CLASS:SHARE,... with shares above 0, such as high:0.1,normal:0.9, found '", part, "'"));
    }
    shares.push_back(std::move(share));
  }
  return shares;
}

absl::StatusOr<TrafficShare> ParseTenant(std::string_view text) {
  TrafficShare share;
  const absl::string_view all = base::View(text);
  const size_t equal = all.find('=');
  const size_t colon = all.rfind(':');
  const bool weighted = colon != absl::string_view::npos && equal != absl::string_view::npos && colon > equal &&
                        absl::SimpleAtod(all.substr(colon + 1), &share.weight);
  if (equal == absl::string_view::npos || equal == 0 || equal + 1 == all.size() || !(share.weight > 0)) {
    // The text may hold a key, so the message does not repeat it.
    return absl::InvalidArgumentError("expected NAME=KEY or NAME=KEY:SHARE with a share above 0");
  }
  share.name = std::string(all.substr(0, equal));
  share.value = std::string(all.substr(equal + 1, weighted ? colon - equal - 1 : absl::string_view::npos));
  return share;
}

int ChooseShare(const std::vector<TrafficShare>& shares, double u) {
  double total = 0;
  for (const TrafficShare& share : shares) total += share.weight;
  double passed = 0;
  for (size_t i = 0; i < shares.size(); ++i) {
    passed += shares[i].weight / total;
    if (u < passed) return static_cast<int>(i);
  }
  return shares.empty() ? 0 : static_cast<int>(shares.size()) - 1;
}

}  // namespace hadal::bench
