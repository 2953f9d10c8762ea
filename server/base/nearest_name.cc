// SPDX-License-Identifier: Apache-2.0
#include "server/base/nearest_name.h"

#include <algorithm>

namespace hadal::base {
namespace {

// So many are a slip of the finger; beyond, a name that goes on as what was typed is likelier meant.
constexpr size_t kTypingErrors = 2;

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

// `name` is a part of `candidate` between dashes.
bool HasWord(std::string_view candidate, std::string_view name) {
  const size_t at = candidate.find(name);
  if (at == std::string_view::npos) return false;
  const size_t end = at + name.size();
  return (at == 0 || candidate[at - 1] == '-') && (end == candidate.size() || candidate[end] == '-');
}

}  // namespace

std::string NearestName(std::string_view name, const std::vector<std::string>& candidates) {
  std::string nearest;
  size_t distance = std::max<size_t>(2, name.size() / 3) + 1;
  std::string longer;
  std::string with_word;
  const auto shorter = [](const std::string& a, const std::string& b) { return b.empty() || a.size() < b.size(); };
  for (const std::string& candidate : candidates) {
    const size_t here = EditDistance(name, candidate);
    if (here < distance) {
      distance = here;
      nearest = candidate;
    }
    if (candidate.starts_with(name) && shorter(candidate, longer)) longer = candidate;
    if (HasWord(candidate, name) && shorter(candidate, with_word)) with_word = candidate;
  }
  const bool is_part = name.size() >= 3;
  if (distance > kTypingErrors && is_part && !longer.empty()) return longer;
  if (nearest.empty() && is_part) return with_word;
  return nearest;
}

}  // namespace hadal::base
