// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/tls/openssl_ptr.h"

namespace hadal::redis {

// Whose certificates are believed. Redis must show one for the name or address that it is reached by; there is no way
// to do without. Thread-safe.
class TlsTrust {
 public:
  // `ca_file`: PEM file with the authorities; empty: those that the system trusts. InvalidArgument names the file.
  static absl::StatusOr<std::shared_ptr<const TlsTrust>> Load(const std::string& ca_file);

  // Shakes hands over a socket that has time-outs and stays the caller's. UNAVAILABLE says what failed.
  absl::StatusOr<tls::SslPtr> Connect(int fd, const std::string& host) const;

 private:
  TlsTrust() = default;

  tls::ContextPtr context_;
};

// What OpenSSL's queue of errors says, or `otherwise`; empties it.
std::string TlsReason(const char* otherwise);

}  // namespace hadal::redis
