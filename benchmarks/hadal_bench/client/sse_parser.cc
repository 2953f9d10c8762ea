// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/sse_parser.h"

namespace hadal::bench {

void SseParser::EndLine(const std::function<void(std::string_view)>& on_data) {
  const std::string_view line = line_;
  if (line.empty()) {
    if (has_data_) on_data(data_);
    data_.clear();
    event_.clear();
    has_data_ = false;
  } else if (line.substr(0, 6) == "event:") {
    event_ = line.substr(line.substr(6, 1) == " " ? 7 : 6);
  } else if (line.substr(0, 6) == "error:") {  // llama.cpp's field of its own
    event_ = "error";
    has_data_ = true;
    data_ += line.substr(line.substr(6, 1) == " " ? 7 : 6);
  } else if (line.substr(0, 5) == "data:" || line == "data") {
    if (has_data_) data_ += '\n';
    has_data_ = true;
    std::string_view value = line.size() > 5 ? line.substr(5) : std::string_view();
    if (!value.empty() && value[0] == ' ') value.remove_prefix(1);
    data_ += value;
  }
  line_.clear();
}

absl::Status SseParser::Feed(std::string_view bytes, const std::function<void(std::string_view)>& on_data) {
  while (!bytes.empty()) {
    if (after_cr_ && bytes[0] == '\n') {  // the second half of CRLF
      after_cr_ = false;
      bytes.remove_prefix(1);
      continue;
    }
    after_cr_ = false;
    const size_t end = bytes.find_first_of("\r\n");
    line_ += bytes.substr(0, end);
    if (line_.size() + data_.size() > kMaxEventBytes) {
      return absl::ResourceExhaustedError("an event of the stream is larger than 16 MiB");
    }
    if (end == std::string_view::npos) break;
    after_cr_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    EndLine(on_data);
  }
  return absl::OkStatus();
}

}  // namespace hadal::bench
