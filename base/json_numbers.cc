// SPDX-License-Identifier: Apache-2.0
#include "base/json_numbers.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>

namespace hadal::base {
namespace {

bool IsNumberByte(char c) { return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'; }

template <typename Int>
bool OutOfRange(std::string_view digits) {
  Int value = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return parsed.ec == std::errc::result_out_of_range && parsed.ptr == digits.data() + digits.size();
}

void AppendNumber(std::string_view number, std::string* out) {
  const bool negative = number.front() == '-';
  const bool whole = number.find_first_of(".eE") == std::string_view::npos;
  // Nothing shorter is out of range.
  constexpr size_t kAlwaysFits = 18;
  if (whole && number.size() <= kAlwaysFits) {
    out->append(number);
    return;
  }
  if (std::isinf(std::strtod(std::string(number).c_str(), nullptr))) {
    out->append(negative ? "-1e308" : "1e308");
    return;
  }
  out->append(number);
  if (whole && (negative ? OutOfRange<int64_t>(number) : OutOfRange<uint64_t>(number))) out->append(".0");
}

}  // namespace

std::string WidenJsonNumbers(std::string_view json) {
  std::string out;
  out.reserve(json.size() + 64);
  for (size_t at = 0; at < json.size();) {
    size_t end = at + 1;
    if (json[at] == '"') {
      while (end < json.size() && json[end] != '"') end += json[end] == '\\' ? 2 : 1;
      end = std::min(end + 1, json.size());
      out.append(json.substr(at, end - at));
    } else if ((json[at] >= '0' && json[at] <= '9') || json[at] == '-') {
      while (end < json.size() && IsNumberByte(json[end])) ++end;
      AppendNumber(json.substr(at, end - at), &out);
    } else {
      out.push_back(json[at]);
    }
    at = end;
  }
  return out;
}

}  // namespace hadal::base
