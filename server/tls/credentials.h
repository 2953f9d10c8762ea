// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/tls/openssl_ptr.h"
#include "server/tls/tls_options.h"

namespace hadal::tls {

// The parameters of handshakes: certificate chain, key, client authorities, versions and ciphers, as read from the
// files. Immutable once loaded; connections keep the credentials that they began with. Thread-safe.
class Credentials {
 public:
  // InvalidArgument names the flag, the file and what is wrong with it. Nothing of a key appears in messages.
  static absl::StatusOr<std::shared_ptr<const Credentials>> Load(const TlsOptions& options, absl::Time now);

  // The server's side of a connection over a non-blocking socket. `fd` stays the caller's and outlives it.
  // `http2_first`: a client that offers HTTP/1.1, too, gets HTTP/2; else HTTP/1.1, because HTTP/2 is for gRPC, whose
  // clients offer nothing else. Null when memory runs out.
  SslPtr NewConnection(int fd, bool http2_first) const;

  // When the first certificate of the chain expires.
  absl::Time expiry() const { return expiry_; }
  // Problems that are not errors: a certificate that has expired or is not valid yet.
  const std::vector<std::string>& warnings() const { return warnings_; }
  bool asks_for_certificates() const { return asks_for_certificates_; }

 private:
  Credentials() = default;

  absl::Status UseChain(const std::string& file, absl::Time now);
  absl::Status UseKey(const TlsOptions& options);
  absl::Status UseClientAuthorities(const std::string& file);
  void UseRules(Version min_version);

  ContextPtr context_;
  absl::Time expiry_ = absl::InfiniteFuture();
  std::vector<std::string> warnings_;
  bool asks_for_certificates_ = false;
};

}  // namespace hadal::tls
