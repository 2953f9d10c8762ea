// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace hadal::commands {

struct HttpReply {
  int status = 0;
  std::string body;
};

// Which certificates are accepted. Thread-safe; copies share the loaded data.
class TlsTrust {
 public:
  // Any certificate: the connection is encrypted, but the server is not authenticated.
  static TlsTrust Everybody();
  // Certificates signed by the authorities of a PEM file for the server's name or address; with an empty `ca_file`, by
  // the system's authorities. InvalidArgument names the file.
  static absl::StatusOr<TlsTrust> Authorities(const std::string& ca_file);

  SSL_CTX* context() const { return context_.get(); }

 private:
  explicit TlsTrust(std::shared_ptr<SSL_CTX> context) : context_(std::move(context)) {}

  std::shared_ptr<SSL_CTX> context_;
};

// GET `path` of an HTTP/1.1 server, over a connection of its own; for probes that run once and exit. Bodies need a
// content-length or end with the connection, and are at most 1 MiB. `trust`: null speaks plain text. Blocks for at most
// `timeout`, apart from resolving the name. DeadlineExceeded after that; Unavailable, with the reason alone as its
// message, when nobody listens or what comes is no complete response.
absl::StatusOr<HttpReply> HttpGet(const std::string& host, const std::string& port, absl::string_view path,
                                  absl::Duration timeout, const TlsTrust* trust = nullptr);

}  // namespace hadal::commands
