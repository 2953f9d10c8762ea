// SPDX-License-Identifier: Apache-2.0
#include "server/http/cors.h"

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/strings.h"
#include "server/http/request_target.h"

namespace hadal::http {
namespace {

// Headers of ours that a page's script may read.
constexpr std::string_view kExposed =
    "x-request-id, traceresponse, x-hadal-reason, x-hadal-grammar, x-hadal-degraded, x-hadal-cache, "
    "x-hadal-served-by, x-hadal-promise, x-hadal-estimated-wait-ms, x-hadal-ticket, x-should-retry, Retry-After, "
    "retry-after-ms, endpoint-load-metrics";
// How long a browser may remember the response to a preflight request.
constexpr std::string_view kMaxAgeSeconds = "600";

// scheme://host[:port] of http or https; what stands behind the scheme, or empty for anything else.
std::string_view AuthorityOf(std::string_view origin) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (origin.substr(0, scheme.size()) != scheme) continue;
    const std::string_view authority = origin.substr(scheme.size());
    return IsAuthority(authority) ? authority : std::string_view();
  }
  return {};
}

bool IsLoopback(std::string_view origin) {
  const std::string_view authority = AuthorityOf(origin);
  constexpr std::array<std::string_view, 3> kHosts = {"localhost", "127.0.0.1", "[::1]"};
  return std::any_of(kHosts.begin(), kHosts.end(), [&](std::string_view host) {
    if (authority.substr(0, host.size()) != host) return false;
    return authority.size() == host.size() || authority[host.size()] == ':';
  });
}

std::string Lower(std::string_view text) { return absl::AsciiStrToLower(base::View(text)); }

}  // namespace

absl::StatusOr<CorsPolicy> CorsPolicy::Parse(std::string_view list) {
  CorsPolicy policy;
  for (absl::string_view part : absl::StrSplit(base::View(list), ',')) {
    const std::string origin = Lower(base::StdView(absl::StripAsciiWhitespace(part)));
    if (origin.empty() || origin == "none") continue;
    if (origin == "*") {
      policy.any_ = true;
    } else if (origin == "localhost") {
      policy.loopback_ = true;
    } else if (AuthorityOf(origin).empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", origin, "' is no origin; expected localhost, * or a list such as https://app.example.com"));
    } else {
      policy.origins_.push_back(origin);
    }
  }
  return policy;
}

bool CorsPolicy::Allows(std::string_view origin) const {
  if (origin.empty()) return false;
  if (any_) return true;
  const std::string lower = Lower(origin);
  if (loopback_ && IsLoopback(lower)) return true;
  return std::find(origins_.begin(), origins_.end(), lower) != origins_.end();
}

void CorsPolicy::AddTo(std::string_view origin, Headers* headers) const {
  if (!any_ && !loopback_ && origins_.empty()) return;
  // The response differs by origin: a cache must not hand one page what was said to another.
  if (!any_) headers->emplace_back("vary", "Origin");
  if (!Allows(origin)) return;
  headers->emplace_back("access-control-allow-origin", any_ ? "*" : origin);
  headers->emplace_back("access-control-expose-headers", kExposed);
}

void CorsPolicy::AddToPreflight(std::string_view allow, std::string_view wanted_headers, Headers* headers) const {
  headers->emplace_back("access-control-allow-methods", allow);
  // Clients add headers of their own (x-stainless-*): what is asked for is allowed, since no header does any harm.
  if (!wanted_headers.empty()) headers->emplace_back("access-control-allow-headers", wanted_headers);
  headers->emplace_back("access-control-max-age", kMaxAgeSeconds);
}

}  // namespace hadal::http
