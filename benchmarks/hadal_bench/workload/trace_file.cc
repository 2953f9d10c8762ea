// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/workload/trace_file.h"

#include <simdjson.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "base/read_file.h"
#include "server/base/strings.h"

namespace hadal::bench {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{2} << 30;

// "2023-11-16 18:15:46.6805900", also with T, a zone or without a fraction, or a plain number of seconds.
bool ReadTimestamp(absl::string_view text, double* seconds) {
  if (absl::SimpleAtod(text, seconds)) return true;
  absl::Time time;
  std::string error;
  const std::string normal = absl::StrReplaceAll(text, {{"T", " "}, {"Z", ""}, {"+00:00", ""}});
  if (!absl::ParseTime("%Y-%m-%d %H:%M:%E*S", normal, &time, &error)) return false;
  *seconds = absl::ToDoubleSeconds(time - absl::UnixEpoch());
  return true;
}

bool ReadAzureLine(absl::string_view line, TraceEntry* entry) {
  const std::vector<absl::string_view> cells = absl::StrSplit(line, ',');
  return cells.size() >= 3 && ReadTimestamp(absl::StripAsciiWhitespace(cells[0]), &entry->at_s) &&
         absl::SimpleAtoi(cells[1], &entry->prompt_tokens) && absl::SimpleAtoi(cells[2], &entry->output_tokens);
}

bool ReadMooncakeLine(simdjson::dom::parser& parser, absl::string_view line, TraceEntry* entry) {
  simdjson::dom::element root;
  double timestamp_ms;
  int64_t prompt, output;
  if (parser.parse(line.data(), line.size()).get(root) || root["timestamp"].get(timestamp_ms) ||
      root["input_length"].get(prompt) || root["output_length"].get(output)) {
    return false;
  }
  entry->at_s = timestamp_ms / 1000;
  entry->prompt_tokens = static_cast<int>(prompt);
  entry->output_tokens = static_cast<int>(output);
  simdjson::dom::array ids;
  if (!root["hash_ids"].get(ids)) {
    for (const simdjson::dom::element id : ids) {
      uint64_t value;
      if (id.get(value)) return false;
      entry->prefix_blocks.push_back(value);
    }
  }
  return true;
}

}  // namespace

absl::StatusOr<std::vector<TraceEntry>> ParseTrace(std::string_view text, std::string_view name) {
  std::vector<TraceEntry> entries;
  simdjson::dom::parser parser;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(base::View(text), '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || (number == 1 && line[0] != '{' && !absl::ascii_isdigit(line[0]))) continue;  // a header
    TraceEntry entry;
    const bool good = line[0] == '{' ? ReadMooncakeLine(parser, line, &entry) : ReadAzureLine(line, &entry);
    if (!good || entry.prompt_tokens < 0 || entry.output_tokens < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(base::View(name), ":", number,
                       ": expected TIMESTAMP,ContextTokens,GeneratedTokens (Azure) or a JSON object with timestamp, "
                       "input_length, output_length (Mooncake), found '",
                       line.substr(0, 80), "'"));
    }
    // Traces hold a few empty outputs; one token is the least that a server can be asked for.
    entry.prompt_tokens = std::max(1, entry.prompt_tokens);
    entry.output_tokens = std::max(1, entry.output_tokens);
    entries.push_back(std::move(entry));
  }
  if (entries.empty()) return absl::InvalidArgumentError(absl::StrCat(base::View(name), ": holds no requests"));
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.at_s < b.at_s; });
  const double first = entries.front().at_s;
  for (TraceEntry& entry : entries) entry.at_s -= first;
  return entries;
}

absl::StatusOr<std::vector<TraceEntry>> ReadTrace(const std::string& path) {
  const absl::StatusOr<std::string> text = base::ReadFile(path, kMaxFileBytes);
  if (!text.ok()) return text.status();
  return ParseTrace(*text, path);
}

}  // namespace hadal::bench
