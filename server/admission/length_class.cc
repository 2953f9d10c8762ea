// SPDX-License-Identifier: Apache-2.0
#include "server/admission/length_class.h"

#include <array>
#include <string>

namespace hadal::admission {
namespace {

struct LengthClass {
  int64_t most_tokens;
  const char* name;
};
constexpr std::array<LengthClass, 5> kLengthClasses = {
    {{256, "256"}, {1024, "1k"}, {4096, "4k"}, {16384, "16k"}, {INT64_MAX, "more"}}};

size_t LengthClassOf(int64_t prompt_tokens) {
  size_t index = 0;
  while (prompt_tokens > kLengthClasses[index].most_tokens) ++index;
  return index;
}

}  // namespace

std::string_view LengthClassName(int64_t prompt_tokens) { return kLengthClasses[LengthClassOf(prompt_tokens)].name; }

std::vector<base::LabelValues> ClassAndLengthSeries() {
  std::vector<base::LabelValues> series;
  for (std::string_view priority : request::kPriorityNames) {
    for (const LengthClass& length : kLengthClasses) series.push_back({std::string(priority), length.name});
  }
  return series;
}

size_t ClassAndLengthIndex(request::Priority priority, int64_t prompt_tokens) {
  return static_cast<size_t>(priority) * kLengthClasses.size() + LengthClassOf(prompt_tokens);
}

}  // namespace hadal::admission
