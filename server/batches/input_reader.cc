// SPDX-License-Identifier: Apache-2.0
#include "server/batches/input_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/batches/input_line.h"

namespace hadal::batches {

void InputReader::Fail(BatchError error) {
  errors_.push_back(std::move(error));
  if (errors_.size() >= kMaxErrors) gave_up_ = true;
}

void InputReader::Feed(std::string_view bytes, bool end, std::vector<WaitingLine>* lines) {
  while (!bytes.empty() && !gave_up_) {
    const size_t line_end = bytes.find('\n');
    rest_.append(bytes.substr(0, line_end));
    if (static_cast<int64_t>(rest_.size()) > limits_.line_bytes) {
      Fail({"line_too_long", absl::StrCat("line ", number_ + 1, ": it has more than ", limits_.line_bytes, " bytes"),
            number_ + 1});
      gave_up_ = true;  // where it ends is not looked for
      return;
    }
    if (line_end == bytes.npos) break;
    bytes.remove_prefix(line_end + 1);
    TakeLine(rest_, lines);
    offset_ += static_cast<int64_t>(rest_.size()) + 1;
    rest_.clear();
  }
  if (!end || gave_up_) return;
  if (!rest_.empty()) TakeLine(rest_, lines);
  rest_.clear();
  if (requests_ == 0 && errors_.empty()) Fail({"empty_file", "the input file has no lines", 0});
}

void InputReader::TakeLine(std::string_view line, std::vector<WaitingLine>* lines) {
  ++number_;
  // As editors and shells of Windows write in front of UTF-8.
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  const size_t skipped = number_ == 1 && line.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
  line.remove_prefix(skipped);
  if (line.find_first_not_of(" \t\r") == line.npos) return;
  if (++requests_ > limits_.lines) {
    Fail({"too_many_requests",
          absl::StrCat("line ", number_, ": a batch may have ", limits_.lines, " requests, and this is one more"),
          number_});
    gave_up_ = true;
    return;
  }
  absl::StatusOr<InputLine> parsed = ParseInputLine(line, number_, endpoint_);
  if (!parsed.ok()) {
    Fail({"invalid_line", std::string(parsed.status().message()), number_});
    return;
  }
  lines->push_back({number_, std::move(parsed->custom_id), offset_ + static_cast<int64_t>(skipped),
                    static_cast<int64_t>(line.size())});
}

}  // namespace hadal::batches
