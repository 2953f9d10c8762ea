// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace hadal::bench {

// Reads server-sent events from bytes cut anywhere. Comments and ids are skipped. Lines end in LF, CRLF or CR; several
// data lines of one event are joined by LF. A line "error: DATA" is an event of that name.
class SseParser {
 public:
  static constexpr size_t kMaxEventBytes = 16 << 20;

  // Calls `on_data` for each event that `bytes` completes. ResourceExhausted for an event beyond kMaxEventBytes.
  absl::Status Feed(std::string_view bytes, const std::function<void(std::string_view data)>& on_data);
  // The name of the event that `on_data` is called for; empty for one without a name.
  std::string_view event() const { return event_; }
  // Whether bytes of an event that has not ended are held: at the end of a stream it was cut off.
  bool in_event() const { return !line_.empty() || has_data_; }

 private:
  void EndLine(const std::function<void(std::string_view)>& on_data);

  std::string line_, data_, event_;
  bool has_data_ = false, after_cr_ = false;
};

}  // namespace hadal::bench
