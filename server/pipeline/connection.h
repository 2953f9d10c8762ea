// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/pipeline/messages.h"

namespace hadal::pipeline {

// A TCP connection that carries messages in frames: magic, type, length, payload. One thread may send while another
// one receives; both ShutDowns are for any thread. A host that is gone without a word ends it within half a minute.
class Connection {
 public:
  // What a frame has besides its payload.
  static constexpr size_t kFrameBytes = 16;

  // Takes the descriptor. `peer` is for messages.
  Connection(int fd, std::string peer);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // One attempt, over by `deadline`. `address` is host:port or [host]:port. InvalidArgument for another form,
  // Unavailable when nobody answers there.
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const std::string& address, absl::Time deadline);

  // The payload is `head`, then `tail`. Unavailable when the other end is gone.
  absl::Status Send(MessageType type, absl::Span<const std::byte> head, absl::Span<const std::byte> tail = {});

  // The next message. `payload` is reused and grows with the bytes that arrive, not with what a frame announces.
  // Unavailable when the other end is gone, InvalidArgument for bytes that are no frame and for a payload above
  // `max_bytes`, DeadlineExceeded.
  absl::StatusOr<MessageType> Receive(int64_t max_bytes, std::vector<std::byte>* payload,
                                      absl::Time deadline = absl::InfiniteFuture());

  // Ends every Send and Receive, those that wait and those to come.
  void ShutDown();
  // The same for Receive alone: what has to be said still can be.
  void ShutDownReceiving();

  const std::string& peer() const { return peer_; }
  uint64_t sent_bytes() const { return sent_bytes_.load(std::memory_order_relaxed); }
  uint64_t received_bytes() const { return received_bytes_.load(std::memory_order_relaxed); }

 private:
  absl::Status ReceiveBytes(std::byte* out, size_t bytes, absl::Time deadline);

  const int fd_;
  const std::string peer_;
  std::atomic<uint64_t> sent_bytes_{0}, received_bytes_{0};
};

// host and port of host:port or [host]:port; InvalidArgument for other text and for a port outside 1 to 65535.
struct HostPort {
  std::string host;
  std::string port;
};
absl::StatusOr<HostPort> ParseAddress(const std::string& address);

// A listening socket of that address; port 0 picks one. The caller closes it.
absl::StatusOr<int> Listen(const std::string& host, int port);
int ListeningPort(int fd);

}  // namespace hadal::pipeline
