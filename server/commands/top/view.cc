// SPDX-License-Identifier: Apache-2.0
#include "server/commands/top/view.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace hadal::top {
namespace {

using Style = Line::Style;

// What the columns behind the server's name take.
constexpr int kNumbersWidth = 59;
constexpr int kLeastNameWidth = 8;

std::string Count(double value) { return CountText(value); }
std::string Time(const std::optional<double>& seconds) { return seconds.has_value() ? TimeText(*seconds) : "-"; }

// Names come from the command line and from labels.
std::string Printable(std::string text) {
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

std::string Heading(int name_width) {
  return absl::StrFormat("%-*s %-8s %5s %5s %5s %6s %6s %5s %5s %5s", name_width, "SERVER", "STATE", "BATCH", "QUEUE",
                         "KV", "OUT/S", "IN/S", "REF/S", "RETRY", "TTFT");
}

Line RowOf(const ServerRow& server, int name_width, absl::Time now) {
  std::string name = server.name;
  // The end of a name tells servers of one cluster apart.
  if (static_cast<int>(name.size()) > name_width) name = ".." + name.substr(name.size() - name_width + 2);
  if (!server.error.empty()) {
    const std::string away = TimeText(absl::ToDoubleSeconds(now - server.away_since));
    return {absl::StrFormat("%-*s AWAY     for %s: %s", name_width, name, away, server.error), Style::kAlarm};
  }
  if (!server.numbers.has_value())
    return {absl::StrFormat("%-*s has not answered yet", name_width, name), Style::kPlain};
  const ServerNumbers& n = *server.numbers;
  return {absl::StrFormat("%-*s %-8s %5s %5s %4.0f%% %6s %6s %5s %5s %5s", name_width, name, n.state, Count(n.running),
                          Count(n.waiting), 100 * n.kv_ratio, Count(n.generated_tokens), Count(n.prompt_tokens),
                          Count(n.refused), Time(n.retry_after_s), Time(n.ttft_p50_s)),
          n.state == "ready" ? Style::kPlain : Style::kAlarm};
}

std::vector<Line> DetailsOf(const ServerRow& server) {
  const ServerNumbers& n = *server.numbers;
  std::vector<Line> lines;
  lines.push_back({""});
  lines.push_back({absl::StrCat(server.name, "  ", n.about), Style::kStrong});
  std::string queue = "  queue   ";
  for (size_t i = 0; i < kClasses.size(); ++i) {
    absl::StrAppend(&queue, " ", kClasses[i], " ", Count(n.class_waiting[i]), " (", TimeText(n.class_wait_s[i]), ") ");
  }
  lines.push_back({queue});
  lines.push_back({absl::StrCat("  step     ", n.step_tokens.has_value() ? Count(*n.step_tokens) : "-", " tokens in ",
                                Time(n.step_s), "; load ", n.offered_load > 0 ? Count(100 * n.offered_load) + "%" : "-",
                                "; in time ", Count(n.good_tokens), " of ", Count(n.all_tokens), "/s")});
  lines.push_back({absl::StrCat("  latency  first token ", Time(n.ttft_p50_s), ", p99 ", Time(n.ttft_p99_s),
                                "; between tokens ", Time(n.between_p50_s), ", p99 ", Time(n.between_p99_s))});
  std::string ended = "  ended    ";
  for (size_t i = 0; i < kEnds.size(); ++i) {
    absl::StrAppend(&ended, i == 0 ? "" : ", ", kEnds[i], " ", Count(n.ended[i]), "/s");
  }
  lines.push_back({ended});
  if (n.refusals.empty()) {
    lines.push_back({"  refused  none"});
    return lines;
  }
  for (size_t i = 0; i < n.refusals.size(); ++i) {
    const ServerNumbers::Refusals& refusals = n.refusals[i];
    lines.push_back({absl::StrFormat("  %-7s  %5s/s  %-24s %s in all", i == 0 ? "refused" : "", Count(refusals.rate),
                                     refusals.reason, Count(refusals.total))});
  }
  return lines;
}

std::string TitleOf(const std::vector<ServerRow>& servers, absl::Time now) {
  const auto away = std::count_if(servers.begin(), servers.end(), [](const auto& s) { return !s.error.empty(); });
  std::string title = absl::StrCat("hadal top  ", absl::FormatTime("%H:%M:%S", now, absl::LocalTimeZone()), "  ",
                                   servers.size(), servers.size() == 1 ? " server" : " servers");
  if (away > 0) absl::StrAppend(&title, ", ", away, " away");
  return title;
}

}  // namespace

std::string CountText(double value) {
  if (value < 9.95 && std::fabs(value - std::round(value)) > 0.049) return absl::StrFormat("%.1f", value);
  if (value < 9999.5) return absl::StrFormat("%.0f", value);
  constexpr char kUnits[] = "kMGT";
  double scaled = value / 1000;
  size_t unit = 0;
  for (; scaled >= 999.5 && unit + 2 < sizeof(kUnits); ++unit) scaled /= 1000;
  return scaled < 99.95 ? absl::StrFormat("%.1f%c", scaled, kUnits[unit])
                        : absl::StrFormat("%.0f%c", scaled, kUnits[unit]);
}

std::string TimeText(double seconds) {
  if (seconds == 0) return "0s";
  if (seconds < 0.00995) return absl::StrFormat("%.1fms", 1000 * seconds);
  if (seconds < 0.9995) return absl::StrFormat("%.0fms", 1000 * seconds);
  if (seconds < 9.95) return absl::StrFormat("%.1fs", seconds);
  if (seconds < 99.5) return absl::StrFormat("%.0fs", seconds);
  if (seconds < 99.5 * 60) return absl::StrFormat("%.0fm", seconds / 60);
  return absl::StrFormat("%.0fh", seconds / 3600);
}

std::vector<Line> Render(const std::vector<ServerRow>& servers, absl::Time now, const ViewSize& size) {
  size_t longest = sizeof("SERVER");
  for (const ServerRow& server : servers) longest = std::max(longest, server.name.size());
  const int name_width = std::max(kLeastNameWidth, std::min(static_cast<int>(longest), size.columns - kNumbersWidth));
  std::vector<Line> lines;
  lines.push_back({TitleOf(servers, now), Style::kStrong});
  lines.push_back({""});
  lines.push_back({Heading(name_width), Style::kHeading});
  for (const ServerRow& server : servers) lines.push_back(RowOf(server, name_width, now));
  const auto room = static_cast<size_t>(std::max(size.lines, 1));
  for (const ServerRow& server : servers) {
    if (!server.numbers.has_value()) continue;
    std::vector<Line> details = DetailsOf(server);
    // The reasons of one server may be cut; two lines of a block alone would say nothing.
    if (lines.size() + std::min<size_t>(details.size(), 7) > room) break;
    std::move(details.begin(), details.end(), std::back_inserter(lines));
  }
  if (lines.size() > room) {
    const size_t hidden = lines.size() - room + 1;
    lines.resize(room - 1);
    lines.push_back({absl::StrCat("... ", hidden, " more lines: make the window larger"), Style::kAlarm});
  }
  for (Line& line : lines) {
    line.text = Printable(std::move(line.text));
    if (static_cast<int>(line.text.size()) > size.columns) line.text.resize(std::max(size.columns, 0));
  }
  return lines;
}

}  // namespace hadal::top
