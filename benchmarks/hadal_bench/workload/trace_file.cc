// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/workload/trace_file.h"

#include <simdjson.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
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

enum class Column { kTime, kPrompt, kOutput, kOther };

// Names of columns as published traces have them.
Column ColumnOf(absl::string_view name) {
  const std::string lower = absl::AsciiStrToLower(name);
  for (const auto& [known, column] :
       {std::pair("timestamp", Column::kTime), std::pair("arrived_at", Column::kTime),
        std::pair("contexttokens", Column::kPrompt), std::pair("request tokens", Column::kPrompt),
        std::pair("input_length", Column::kPrompt), std::pair("prompt_tokens", Column::kPrompt),
        std::pair("generatedtokens", Column::kOutput), std::pair("response tokens", Column::kOutput),
        std::pair("output_length", Column::kOutput), std::pair("completion_tokens", Column::kOutput)}) {
    if (lower == known) return column;
  }
  return Column::kOther;
}

// Where a CSV file has what is wanted: as in Azure's, or as its first line says.
struct Columns {
  size_t time = 0, prompt = 1, output = 2;
};

Columns ColumnsOf(absl::string_view header) {
  Columns columns;
  const std::vector<absl::string_view> names = absl::StrSplit(header, ',');
  for (size_t i = 0; i < names.size(); ++i) {
    const absl::string_view name = absl::StripAsciiWhitespace(absl::StripPrefix(names[i], "\xef\xbb\xbf"));
    switch (ColumnOf(name)) {
      case Column::kTime:
        columns.time = i;
        break;
      case Column::kPrompt:
        columns.prompt = i;
        break;
      case Column::kOutput:
        columns.output = i;
        break;
      case Column::kOther:
        break;
    }
  }
  return columns;
}

bool ReadCsvLine(absl::string_view line, const Columns& columns, TraceEntry* entry) {
  const std::vector<absl::string_view> cells = absl::StrSplit(line, ',');
  return cells.size() > std::max({columns.time, columns.prompt, columns.output}) &&
         ReadTimestamp(absl::StripAsciiWhitespace(cells[columns.time]), &entry->at_s) &&
         absl::SimpleAtoi(cells[columns.prompt], &entry->prompt_tokens) &&
         absl::SimpleAtoi(cells[columns.output], &entry->output_tokens);
}

// A line of JSON with the names of a CSV file; the time is in seconds or a date.
bool ReadNamedLine(const simdjson::dom::element& root, TraceEntry* entry) {
  simdjson::dom::object object;
  if (root.get(object)) return false;
  bool time = false, prompt = false, output = false;
  for (const auto& [name, value] : object) {
    const Column column = ColumnOf(base::View(name));
    std::string_view text;
    int64_t count = 0;
    if (column == Column::kTime) {
      time = value.get(entry->at_s) == simdjson::SUCCESS ||
             (value.get(text) == simdjson::SUCCESS && ReadTimestamp(base::View(text), &entry->at_s));
    } else if (column != Column::kOther && value.get(count) == simdjson::SUCCESS) {
      (column == Column::kPrompt ? prompt : output) = true;
      (column == Column::kPrompt ? entry->prompt_tokens : entry->output_tokens) = static_cast<int>(count);
    }
  }
  return time && prompt && output;
}

bool ReadJsonLine(simdjson::dom::parser& parser, absl::string_view line, TraceEntry* entry) {
  simdjson::dom::element root;
  double timestamp_ms;
  int64_t prompt, output;
  if (parser.parse(line.data(), line.size()).get(root)) return false;
  if (root["timestamp"].get(timestamp_ms) || root["input_length"].get(prompt) || root["output_length"].get(output)) {
    return ReadNamedLine(root, entry);
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
  Columns columns;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(base::View(text), '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty()) continue;
    if (number == 1 && line[0] != '{' && !absl::ascii_isdigit(line[0])) {
      columns = ColumnsOf(line);
      continue;
    }
    TraceEntry entry;
    const bool good = line[0] == '{' ? ReadJsonLine(parser, line, &entry) : ReadCsvLine(line, columns, &entry);
    if (!good || entry.prompt_tokens < 0 || entry.output_tokens < 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          base::View(name), ":", number,
          ": expected TIMESTAMP,ContextTokens,GeneratedTokens (Azure; the first line may name other columns, "
          "as BurstGPT's does) or a JSON object with timestamp, input_length, output_length (Mooncake) or with "
          "the names of such columns, found '",
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
