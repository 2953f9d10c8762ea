// SPDX-License-Identifier: Apache-2.0
#include "server/relay/event_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/request/refusal.h"

namespace hadal::relay {

absl::Status EventReader::Feed(std::string_view bytes, absl::FunctionRef<absl::Status(std::string_view data)> take) {
  while (!bytes.empty()) {
    if (std::exchange(after_return_, false) && bytes.front() == '\n') {
      bytes.remove_prefix(1);
      continue;
    }
    const size_t end = bytes.find_first_of("\r\n");
    line_.append(bytes.substr(0, end));
    if (line_.size() + data_.size() > kMaxEventBytes) {
      return request::MakeError(
          request::Reason::kUpstreamFailed,
          absl::StrCat("the server that answers for this one sent an event of more than ", kMaxEventBytes, " bytes"));
    }
    if (end == std::string_view::npos) break;
    after_return_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    const std::string line = std::exchange(line_, {});
    if (absl::Status status = TakeLine(line, take); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status EventReader::TakeLine(std::string_view line, absl::FunctionRef<absl::Status(std::string_view data)> take) {
  constexpr std::string_view kField = "data:";
  if (line.empty()) {
    const std::string data = std::exchange(data_, {});
    return std::exchange(has_data_, false) ? take(data) : absl::OkStatus();
  }
  if (!line.starts_with(kField)) return absl::OkStatus();
  line.remove_prefix(kField.size());
  if (line.starts_with(' ')) line.remove_prefix(1);
  if (std::exchange(has_data_, true)) data_.push_back('\n');
  data_.append(line);
  return absl::OkStatus();
}

}  // namespace hadal::relay
