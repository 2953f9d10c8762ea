// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/commands/top/server_state.h"

namespace hadal::top {

// A line of text without control characters; the style is for terminals.
struct Line {
  enum class Style : uint8_t { kPlain, kHeading, kStrong, kAlarm };
  std::string text;
  Style style = Style::kPlain;
};

struct ViewSize {
  int columns = 80;
  int lines = 24;
};

// A row for each server, and what is behind the numbers of as many as there is room for. Every line has at most
// `size.columns` bytes of ASCII, and there are at most `size.lines`; what does not fit is left out, the last line then
// says so. Made for 80 columns.
std::vector<Line> Render(const std::vector<ServerRow>& servers, absl::Time now, const ViewSize& size);

// A count in at most 5 characters: "7", "3.5", "12.3k", "4.1M".
std::string CountText(double value);
// A time in at most 5 characters: "0.4ms", "38ms", "2.4s", "12m", "24h".
std::string TimeText(double seconds);

}  // namespace hadal::top
