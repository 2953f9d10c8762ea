// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/tls/tls_metrics.h"
#include "server/tls/tls_options.h"

namespace hadal::tls {

// Terminates TLS in front of both fronts: takes a client's socket and gives the server one end of a socket pair that
// carries the decrypted bytes. Everything that applies to plain connections applies here too: protocol detection by the
// first bytes, time limits, backpressure, close by either side.
//
// One thread performs handshakes, so that they (up to a millisecond each) delay no stream; another one transfers the
// bytes of all connections. At most TlsOptions::max_handshakes are in progress. Further ones wait, and a handshake that
// has taken kMinWait is dropped in their favour, sooner the more of them wait.
//
// Thread-safe.
class Terminator {
 public:
  static constexpr absl::Duration kMinWait = absl::Seconds(1);

  struct Options {
    TlsOptions tls;
    int64_t max_connections = 8192;  // handshakes included
    // How long a client may take nothing of what is left when the server has closed its end.
    absl::Duration flush_timeout = absl::Seconds(5);
  };

  // The server's end of a connection.
  struct Plain {
    int fd = -1;  // non-blocking; whoever gets it closes it. It ends when the handshake fails
    // Set before the first byte arrives: certificates are asked for, and the client has shown none.
    std::shared_ptr<const std::atomic<bool>> lacks_certificate;
  };

  // Reads the files. InvalidArgument as Credentials::Load. `metrics` is borrowed.
  static absl::StatusOr<std::unique_ptr<Terminator>> Create(Options options, TlsMetrics* metrics);
  ~Terminator();  // Stop()

  // Consumes the socket `fd`, which a client has begun a handshake on, if and only if it returns OK. `network`: where
  // the client comes from, for the log. `http2_first`: as Credentials::NewConnection. ResourceExhausted: there are too
  // many connections; Unavailable: the kernel has no descriptors left.
  absl::StatusOr<Plain> Terminate(int fd, bool http2_first, std::string network);

  // Reads the files again, for handshakes from now on; connections go on with what they have. On an error, as of
  // Create, everything stays as it was. Counted.
  absl::Status Reload();
  absl::Time expiry() const;

  // Ends what is left, once what the server has sent has been passed on, and joins the threads. Idempotent.
  void Stop();

 private:
  class Impl;
  explicit Terminator(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace hadal::tls
