// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/http/codec/response.h"

namespace hadal::http {

// Which web pages may read the server's responses (the Fetch standard, "CORS protocol"). Keys travel in a header that
// the page's script sets, never in cookies: credentials are not allowed for any origin. Immutable, thread-safe.
class CorsPolicy {
 public:
  // Allows no origin: nothing is added to responses.
  CorsPolicy() = default;
  // A comma-separated list of origins such as https://app.example.com or http://10.0.0.5:3000, and three words:
  // `localhost` for every http and https origin on localhost, 127.0.0.1 and [::1], whatever the port; `*` for any;
  // `none`, which like an empty list adds nothing. InvalidArgument names what is no origin.
  static absl::StatusOr<CorsPolicy> Parse(std::string_view list);

  bool Allows(std::string_view origin) const;

  // Fields of every response to a request with this Origin header, which may be empty.
  void AddTo(std::string_view origin, Headers* headers) const;
  // Further fields of the response to a preflight request from an allowed origin. `allow` lists the route's methods,
  // `wanted_headers` is what Access-Control-Request-Headers held.
  void AddToPreflight(std::string_view allow, std::string_view wanted_headers, Headers* headers) const;

 private:
  bool any_ = false;
  bool loopback_ = false;
  std::vector<std::string> origins_;  // in lower case
};

}  // namespace hadal::http
