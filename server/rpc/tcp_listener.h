// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace hadal::rpc {

// Accepts TCP connections on a thread of its own and hands each socket on. Thread-safe.
class TcpListener {
 public:
  // `host` is an IP address or localhost, `port` 0 picks a free one. `take` gets connected, non-blocking sockets and
  // owns them from then on. `fast_open`: with TCP Fast Open, where the kernel has it. Unavailable when the address
  // cannot be bound.
  static absl::StatusOr<std::unique_ptr<TcpListener>> Start(const std::string& host, int port,
                                                            std::function<void(int fd)> take, bool fast_open = false);
  virtual ~TcpListener() = default;

  virtual int port() const = 0;
  // Accepts nothing any more: who connects from now on is refused. Idempotent.
  virtual void Stop() = 0;
};

}  // namespace hadal::rpc
