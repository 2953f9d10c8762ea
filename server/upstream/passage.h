// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/upstream/transfer_loop.h"

namespace hadal::upstream {

class PassageCore;

// A request to be answered by another server.
struct PassedRequest {
  std::string path;               // below a target's base URL: "/chat/completions"
  bool key_in_x_api_key = false;  // Anthropic's APIs; else the key is a bearer token
  Fields fields;                  // of the client's request; never its key
  std::shared_ptr<const std::string> body;
  int hop = 1;                                   // that this makes
  absl::Time deadline = absl::InfiniteFuture();  // of the whole answer: told to the target, and kept
  absl::Time first_by = absl::InfiniteFuture();  // of the answer's first byte
  std::string request_id, trace_id;              // for the log
};

// What the client is given of an answer's head.
struct PassedHead {
  int status = 0;
  std::string content_type;
  Fields fields;
  std::string served_by;  // the target's name
};

// One request on its way through the upstreams: tries one target after another until one answers. The answer is read
// here as it arrives, byte for byte; the transfer pauses while 64 KiB are waiting. Not thread-safe, except that
// `notify` is called on the loop's thread whenever Read may return something new. Destroying it ends everything at
// once; `notify` is not called after that.
class Passage {
 public:
  enum class Progress : uint8_t {
    kWaiting,    // nothing has come
    kStreaming,  // head() is there, and the answer is on its way
    kComplete,   // the whole answer has been read
    kDeclined,   // no target has answered: nothing has come, nothing will
    kBroken,     // the answer ended in the middle; status() says why
  };

  explicit Passage(std::shared_ptr<PassageCore> core) : core_(std::move(core)) {}
  ~Passage();
  Passage(const Passage&) = delete;
  Passage& operator=(const Passage&) = delete;

  // Appends what has come. The end is reported once all of it has been read.
  Progress Read(std::string* out);
  // From kStreaming on; does not change.
  const PassedHead& head() const;
  // Of kDeclined and kBroken: UPSTREAM_FAILED, DEADLINE_EXPIRED, or INSUFFICIENT_SYSTEM_RESOURCE at the end of a drain.
  absl::Status status() const;

 private:
  const std::shared_ptr<PassageCore> core_;
};

}  // namespace hadal::upstream
