// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/answer_head.h"

#include <algorithm>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "server/base/strings.h"

namespace hadal::upstream {

bool IsPassedOn(const TransferHead& head) {
  if (head.status < 200 || head.status > 299) return false;
  const std::string_view coding = head.Find("content-encoding");
  if (!coding.empty() && !absl::EqualsIgnoreCase(base::View(coding), "identity")) return false;
  const absl::string_view type = base::View(head.Find("content-type"));
  return absl::StartsWithIgnoreCase(type, "application/json") || absl::StartsWithIgnoreCase(type, "text/event-stream");
}

Fields PassedFields(const TransferHead& head) {
  Fields passed;
  for (const auto& [name, value] : head.fields) {
    if (name == "x-hadal-grammar" || name == "openai-model") passed.emplace_back(name, value);
  }
  return passed;
}

std::optional<absl::Duration> RestOf(const TransferHead& head, absl::Time wall_now,
                                     const std::function<int64_t(const char*)>& parse_date) {
  double number = 0;
  if (absl::SimpleAtod(base::View(head.Find("retry-after-ms")), &number) && number >= 0) {
    return absl::Milliseconds(number);
  }
  const std::string text(head.Find("retry-after"));
  if (text.empty()) return std::nullopt;
  if (absl::SimpleAtod(text, &number) && number >= 0) return absl::Seconds(number);
  const int64_t date = parse_date(text.c_str());
  if (date < 0) return std::nullopt;
  return std::max(absl::FromUnixSeconds(date) - wall_now, absl::ZeroDuration());
}

}  // namespace hadal::upstream
