// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace hadal::commands {

struct HttpReply {
  int status = 0;
  std::string body;
};

// How to speak TLS.
struct HttpGetTls {
  std::string ca_file;  // PEM file with who may sign the server's certificate; empty: it is not checked
};

// GET `path` of an HTTP/1.1 server, over a connection of its own; for probes that run once and exit. Bodies need a
// content-length or end with the connection, and are at most 1 MiB. `tls`: null speaks plain text. Blocks for at most
// `timeout`, apart from resolving the name. DeadlineExceeded after that; Unavailable, with the reason alone as its
// message, when nobody listens or what comes is no complete response.
absl::StatusOr<HttpReply> HttpGet(const std::string& host, const std::string& port, absl::string_view path,
                                  absl::Duration timeout, const HttpGetTls* tls = nullptr);

}  // namespace hadal::commands
