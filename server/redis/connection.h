// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/redis/reply.h"
#include "server/redis/tls_trust.h"

struct redisContext;

namespace hadal::redis {

// One connection to one Redis, over TCP or TLS; calls block. After an error it is of no further use: a reply that comes
// too late must not be taken for the next one's. Not thread-safe.
class Connection {
 public:
  // `trust`: null without TLS. `timeout` bounds the connect, and each wait for the peer. UNAVAILABLE says what failed.
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const std::string& host, int port, const TlsTrust* trust,
                                                          absl::Duration timeout);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Sends all commands, then reads a reply for each. UNAVAILABLE when the peer closed or broke off, DEADLINE_EXCEEDED
  // when it was silent, or all of it took twice the time-out. Errors that Redis answers are replies.
  absl::StatusOr<std::vector<Reply>> Run(const std::vector<Words>& commands);

 private:
  Connection(redisContext* context, absl::Duration timeout) : context_(context), timeout_(timeout) {}

  absl::Status Write(const char* data, size_t size);
  // Has the reader take in what comes next.
  absl::Status Read();

  redisContext* const context_;
  const absl::Duration timeout_;
  tls::SslPtr ssl_;  // null without TLS
};

}  // namespace hadal::redis
