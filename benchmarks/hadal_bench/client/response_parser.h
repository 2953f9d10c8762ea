// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace hadal::bench {

struct ResponseHead {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> fields;  // names in lower case

  // The first field of that name; nothing when it is missing.
  std::optional<std::string> Find(std::string_view name) const;
};

// Told of the parts of one HTTP/1.1 response in their order.
class ResponseSink {
 public:
  virtual ~ResponseSink() = default;
  virtual void OnHead(const ResponseHead& head) = 0;
  virtual void OnBody(std::string_view bytes) = 0;
};

// Reads one HTTP/1.1 response from bytes cut anywhere; the body may be chunked, counted or end with the connection.
class ResponseParser {
 public:
  explicit ResponseParser(ResponseSink* sink);
  ~ResponseParser();

  // InvalidArgument for bytes that are not HTTP/1.1.
  absl::Status Feed(std::string_view bytes);
  // The connection has ended. DataLoss when the response was not complete.
  absl::Status FeedEnd();
  bool done() const;
  // Whether another request may follow on the connection; valid once done.
  bool keep_alive() const;
  bool started() const;  // at least one byte was fed

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hadal::bench
