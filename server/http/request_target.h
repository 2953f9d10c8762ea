// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace hadal::http {

// Path and query of a request target, whatever its form (RFC 9112 section 3.2): an origin form as it is, of an absolute
// form (http or https) what stands behind the authority, "*" for OPTIONS *. INVALID_REQUEST for anything else, a
// fragment included; UNSUPPORTED for CONNECT, whose target is an authority.
absl::StatusOr<std::string> PathOfTarget(std::string_view method, std::string_view target);

// True for `host[:port]` with a name, an IPv4 address or an IPv6 address in brackets. An empty text is no authority.
bool IsAuthority(std::string_view text);

}  // namespace hadal::http
