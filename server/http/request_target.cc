// SPDX-License-Identifier: Apache-2.0
#include "server/http/request_target.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::http {
namespace {

using request::MakeError;
using request::Reason;

// Bytes of a target that messages repeat.
constexpr size_t kShownBytes = 128;

bool IsNameByte(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
         std::string_view("-._~%!$&'()*+,;=").find(c) != std::string_view::npos;
}

bool IsAddressByte(char c) { return absl::ascii_isxdigit(static_cast<unsigned char>(c)) || c == ':' || c == '.'; }

bool IsPort(std::string_view text) {
  return text.size() <= 5 && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

bool IsAuthority(std::string_view text) {
  size_t host_end = 0;
  if (!text.empty() && text.front() == '[') {
    host_end = text.find(']');
    if (host_end == std::string_view::npos || host_end < 2) return false;
    if (!std::all_of(text.begin() + 1, text.begin() + host_end, IsAddressByte)) return false;
    ++host_end;
  } else {
    host_end = std::min(text.find(':'), text.size());
    if (host_end == 0 || !std::all_of(text.begin(), text.begin() + host_end, IsNameByte)) return false;
  }
  if (host_end == text.size()) return true;
  return text[host_end] == ':' && IsPort(text.substr(host_end + 1));
}

absl::StatusOr<std::string> PathOfTarget(std::string_view method, std::string_view target) {
  if (method == "CONNECT") return MakeError(Reason::kUnsupported, "CONNECT is not offered: this is no proxy");
  const auto invalid = [&](std::string_view why) {
    return MakeError(
        Reason::kInvalidRequest,
        absl::StrCat("the request target '", base::View(target.substr(0, kShownBytes)), "' ", base::View(why)));
  };
  if (target.find('#') != std::string_view::npos) return invalid("has a fragment");
  if (target == "*") {
    if (method != "OPTIONS") return invalid("is for OPTIONS only");
    return std::string(target);
  }
  if (!target.empty() && target.front() == '/') return std::string(target);

  const size_t scheme_end = target.find("://");
  const std::string_view scheme = target.substr(0, std::min(scheme_end, target.size()));
  if (scheme_end == std::string_view::npos ||
      (!absl::EqualsIgnoreCase(base::View(scheme), "http") && !absl::EqualsIgnoreCase(base::View(scheme), "https"))) {
    return invalid("is neither a path nor an http URL");
  }
  const std::string_view rest = target.substr(scheme_end + 3);
  const size_t authority_end = std::min(rest.find_first_of("/?"), rest.size());
  if (!IsAuthority(rest.substr(0, authority_end))) return invalid("names no valid host");
  const std::string_view path = rest.substr(authority_end);
  if (path.empty() || path.front() != '/') return absl::StrCat("/", base::View(path));
  return std::string(path);
}

}  // namespace hadal::http
