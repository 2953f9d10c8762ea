// SPDX-License-Identifier: Apache-2.0
#include "server/http/byte_range.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/strings.h"

namespace hadal::http {
namespace {

// Digits only; what is too large is as large as can be.
std::optional<int64_t> Number(std::string_view text) {
  if (text.empty() || !std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isdigit(c); })) {
    return std::nullopt;
  }
  int64_t number = 0;
  return absl::SimpleAtoi(base::View(text), &number) ? number : std::numeric_limits<int64_t>::max();
}

}  // namespace

ByteRange ParseByteRange(std::string_view range, int64_t size) {
  constexpr std::string_view kUnit = "bytes=";
  const ByteRange whole = {.end = size};
  if (!absl::StartsWithIgnoreCase(base::View(range), base::View(kUnit))) return whole;
  range.remove_prefix(kUnit.size());
  const size_t dash = range.find('-');
  if (dash == std::string_view::npos) return whole;
  const std::string_view first = range.substr(0, dash), last = range.substr(dash + 1);
  const std::optional<int64_t> begin = Number(first), end = Number(last);
  if ((!first.empty() && !begin.has_value()) || (!last.empty() && !end.has_value())) return whole;
  ByteRange part = {.kind = ByteRange::Kind::kPart, .end = size};
  if (begin.has_value()) {
    if (end.has_value() && *end < *begin) return whole;
    part.begin = *begin;
    if (end.has_value() && *end < size) part.end = *end + 1;
  } else if (end.has_value()) {
    part.begin = std::max<int64_t>(size - *end, 0);
  } else {
    return whole;
  }
  if (part.begin >= part.end) part.kind = ByteRange::Kind::kUnsatisfiable;
  return part;
}

std::string ContentRange(const ByteRange& range, int64_t size) {
  if (range.kind == ByteRange::Kind::kUnsatisfiable) return absl::StrCat("bytes */", size);
  return absl::StrCat("bytes ", range.begin, "-", range.end - 1, "/", size);
}

}  // namespace hadal::http
