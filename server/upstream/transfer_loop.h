// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace hadal::upstream {

using Fields = std::vector<std::pair<std::string, std::string>>;

// A POST.
struct TransferRequest {
  std::string url;
  Fields fields;
  std::shared_ptr<const std::string> body;
  std::string ca_file;                                // empty: the system's authorities
  absl::Duration connect_timeout = absl::Seconds(2);  // handshake of TLS included
  absl::Duration stall_timeout = absl::Seconds(30);   // without a byte behind the first one
  absl::Time first_byte_by = absl::InfiniteFuture();  // a byte of the body; base::Clock::Real()
  absl::Time end_by = absl::InfiniteFuture();
};

// The head of an answer.
struct TransferHead {
  int status = 0;
  Fields fields;  // names in lower case

  // "" when it is not there.
  std::string_view Find(std::string_view name) const;
};

struct TransferEnd {
  enum class Kind : uint8_t {
    kComplete,
    kUnreachable,  // no connection, or no TLS
    kMalformed,    // what came is no HTTP
    kBroken,       // the connection ended before the answer did
    kTimeout,      // first_byte_by or stall_timeout
    kExpired,      // end_by, or the loop's own end
  };
  Kind kind = Kind::kComplete;
  std::string text;  // for logs; no keys, nothing of the bodies
};

// Receives the progress of a transfer, on the loop's thread. May call the loop, but must not end its own transfer in
// OnHead and OnBody.
class TransferListener {
 public:
  enum class Taken : uint8_t {
    kAll,
    kNothing,  // the transfer pauses, and brings the same bytes again after Resume
    kStop,     // nothing more is wanted: it ends as kBroken
  };
  virtual ~TransferListener() = default;
  virtual void OnHead(TransferHead head) = 0;
  // Never empty.
  virtual Taken OnBody(std::string_view bytes) = 0;
  // The last call, unless it was cancelled.
  virtual void OnEnd(TransferEnd end) = 0;
};

// HTTP/1.1 transfers on one thread, with libcurl. Connections are reused. Memory is bounded: a listener that accepts
// nothing pauses its transfer, and at most 16 KiB of it wait here, the rest in the kernel. Redirects are not followed
// and proxies not used. `Post` is thread-safe; everything else is for the loop's thread: posted functions and
// listeners.
class TransferLoop {
 public:
  // FailedPrecondition: libcurl is not installed.
  static absl::StatusOr<std::unique_ptr<TransferLoop>> Create(std::string user_agent);
  // Ends the thread. What was posted and has not run is dropped, and transfers end without a word.
  ~TransferLoop();

  void Post(std::function<void()> work);

  // Returns its number, never 0. The listener is held until the end.
  uint64_t Begin(TransferRequest request, std::shared_ptr<TransferListener> listener);
  // The listener takes bytes again. Transfers that have ended are ignored here and below.
  void Resume(uint64_t transfer);
  // Ends it at once, its connection too. The listener is not told.
  void Cancel(uint64_t transfer);
  // Every transfer, those that are yet to begin included, ends by then.
  void EndAllBy(absl::Time end);

 private:
  class Impl;
  explicit TransferLoop(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace hadal::upstream
