// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace hadal::relay {

// Server-sent events as bytes arrive: the data of each complete event. Names, ids and comments are left out; lines may
// end in any way that the format has. Not thread-safe.
class EventReader {
 public:
  // The largest event that is taken.
  static constexpr size_t kMaxEventBytes = size_t{1} << 20;

  // Gives the data of the events that `bytes` complete to `take`, in order, until it returns an error, which is
  // returned. UPSTREAM_FAILED for an event above the limit.
  absl::Status Feed(std::string_view bytes, absl::FunctionRef<absl::Status(std::string_view data)> take);

 private:
  absl::Status TakeLine(std::string_view line, absl::FunctionRef<absl::Status(std::string_view data)> take);

  std::string line_;  // its beginning, from earlier bytes
  std::string data_;  // of the event that is being read
  bool has_data_ = false;
  bool after_return_ = false;  // the last byte was a CR: an LF that follows belongs to it
};

}  // namespace hadal::relay
