// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/flag_set.h"

namespace hadal::tls {

enum class Version { kTls12, kTls13 };

// TLS of every port. Without a certificate connections are plain.
struct TlsOptions {
  // All three are PEM files, and read again when they change.
  std::string cert_file;       // the server's certificate, then those that lead to a root
  std::string key_file;        // its private key, without a passphrase
  std::string client_ca_file;  // who signs clients' certificates; empty: none is asked for
  Version min_version = Version::kTls12;
  absl::Duration handshake_timeout = absl::Seconds(10);
  int max_handshakes = 256;  // under way at a time; more wait for their turn

  bool enabled() const { return !cert_file.empty(); }
  bool asks_for_certificates() const { return !client_ca_file.empty(); }

  // InvalidArgument names the flags that do not go together.
  absl::Status Validate() const {
    if (enabled() && key_file.empty()) return absl::InvalidArgumentError("--tls-cert needs --tls-key");
    if (!enabled() && !key_file.empty()) return absl::InvalidArgumentError("--tls-key needs --tls-cert");
    if (!enabled() && asks_for_certificates()) {
      return absl::InvalidArgumentError("--tls-client-ca needs --tls-cert and --tls-key");
    }
    return absl::OkStatus();
  }

  void AddFlags(base::FlagSet* flags) {
    flags->AddText("tls-cert", &cert_file, "PEM file with the server's certificate chain: all ports speak TLS", "none");
    flags->AddText("tls-key", &key_file, "PEM file with the private key of --tls-cert", "none");
    flags->AddText("tls-client-ca", &client_ca_file,
                   "PEM file with the authorities whose client certificates are wanted", "none");
    flags->AddEnum("tls-min-version", &min_version, {{"1.2", Version::kTls12}, {"1.3", Version::kTls13}},
                   "oldest version of TLS that is spoken");
    flags->AddDuration("tls-handshake-timeout", &handshake_timeout, "how long a TLS handshake may take");
    flags->AddInt("tls-max-handshakes", &max_handshakes, {1, 1 << 16}, "maximum TLS handshakes at a time");
  }
};

}  // namespace hadal::tls
