// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hadal::http {

// Reads multipart/form-data (RFC 7578) as it arrives, and keeps no more of it than a boundary and a part's head: data
// goes on at once. Not thread-safe.
class MultipartReader {
 public:
  // What takes the parts. An error ends the reading.
  class Sink {
   public:
    virtual ~Sink() = default;
    // A field begins; `file_name` is empty where it is no file.
    virtual absl::Status BeginPart(std::string_view name, std::string_view file_name) = 0;
    // The next bytes of the field.
    virtual absl::Status Data(std::string_view bytes) = 0;
  };

  // INVALID_REQUEST for a Content-Type that is not multipart/form-data with a boundary.
  static absl::StatusOr<MultipartReader> Create(std::string_view content_type);

  // INVALID_REQUEST for what is no such form; or what the sink said.
  absl::Status Feed(std::string_view bytes, Sink* sink);
  // The last boundary has come. What follows it is ignored.
  bool ended() const { return state_ == State::kEnded; }

 private:
  enum class State { kPreamble, kData, kBoundary, kHead, kEnded };

  explicit MultipartReader(std::string boundary) : delimiter_("\r\n--" + boundary), buffer_("\r\n") {}

  // One step; false when more bytes must come.
  absl::StatusOr<bool> Step(Sink* sink);
  absl::Status BeginPart(std::string_view head, Sink* sink);

  std::string delimiter_;
  std::string buffer_;  // not looked at, or not known yet to be data
  State state_ = State::kPreamble;
};

}  // namespace hadal::http
