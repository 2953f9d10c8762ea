// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>

#include "server/base/metrics.h"

namespace hadal::tls {

// Why a handshake has failed. In the order of kHandshakeFailures.
enum class HandshakeFailure {
  kTimeout,            // it took longer than --tls-handshake-timeout
  kEvicted,            // it waited for its client while others waited for their turn
  kClosed,             // the client went away
  kVersion,            // the client speaks no version that is allowed
  kCipher,             // no cipher in common
  kProtocol,           // the client offers neither HTTP/1.1 nor HTTP/2 (ALPN)
  kClientCertificate,  // the client's certificate is expired, or not signed by --tls-client-ca
  kServerCertificate,  // the client does not accept ours
  kAlert,              // the client gave up for another reason
  kMalformed,          // what came is no TLS handshake
};
inline constexpr std::array<std::string_view, 10> kHandshakeFailures = {
    "timeout", "evicted",  "closed", "version", "cipher", "alpn", "client_certificate", "server_certificate",
    "alert",   "malformed"};

// Thread-safe; `registry` may be null, else it outlives this.
struct TlsMetrics {
  explicit TlsMetrics(base::MetricRegistry* registry) : registry(registry) {}

  base::MetricRegistry* const registry;

  base::Family<base::Counter> handshakes{registry,
                                         {.name = "hadal_tls_handshakes_total",
                                          .help = "TLS handshakes that succeeded, by version.",
                                          .labels = {"version"},
                                          .series = {{"1.2"}, {"1.3"}}}};
  base::Family<base::Counter> failures{registry,
                                       {.name = "hadal_tls_handshake_failures_total",
                                        .help = "TLS handshakes that failed, by reason.",
                                        .labels = {"reason"},
                                        .series = base::SeriesOf(kHandshakeFailures)}};
  base::Family<base::Gauge> connections{registry,
                                        {"hadal_tls_connections", "Open TLS connections, handshakes included."}};
  base::Family<base::Gauge> expiry{
      registry,
      {"hadal_tls_certificate_expiry_timestamp_seconds", "When the served certificate chain expires; 0 without TLS."}};
  enum Result : size_t { kOk, kFailed };
  base::Family<base::Counter> reloads{registry,
                                      {.name = "hadal_tls_reloads_total",
                                       .help = "Times that certificate and key were read again, by result.",
                                       .labels = {"result"},
                                       .series = {{"ok"}, {"failed"}}}};
};

}  // namespace hadal::tls
