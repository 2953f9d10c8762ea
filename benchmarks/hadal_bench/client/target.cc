// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/target.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/base/strings.h"

namespace hadal::bench {

std::string Target::Authority() const {
  return host.find(':') != std::string::npos ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

std::string Target::HostField() const {
  const bool usual = (scheme == Scheme::kHttp && port == 80) || (scheme == Scheme::kHttps && port == 443);
  const std::string whole = Authority();
  return usual ? whole.substr(0, whole.rfind(':')) : whole;
}

std::string Target::CallPath(bool chat) const {
  if (!call_path.empty()) return call_path;
  return absl::StrCat(base_path, chat ? "/v1/chat/completions" : "/v1/completions");
}

std::string Target::ModelsPath() const {
  return models_path.empty() ? absl::StrCat(base_path, "/v1/models") : models_path;
}

absl::StatusOr<Target> ParseTarget(std::string_view url) {
  absl::string_view rest = base::View(url);
  const auto bad = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat(why, ", found '", base::View(url),
                                                   "'; expected http://HOST:PORT, https://HOST, "
                                                   "grpc://HOST:PORT or grpcs://HOST:PORT"));
  };
  Target target;
  if (const size_t scheme_end = rest.find("://"); scheme_end != absl::string_view::npos) {
    const absl::string_view scheme = rest.substr(0, scheme_end);
    rest.remove_prefix(scheme_end + 3);
    if (scheme == "https") {
      target.scheme = Scheme::kHttps;
      target.port = 443;
    } else if (scheme == "grpc" || scheme == "grpcs") {
      target.scheme = scheme == "grpc" ? Scheme::kGrpc : Scheme::kGrpcs;
      target.port = 8000;
    } else if (scheme != "http") {
      return bad("the scheme is not known");
    }
  }
  if (rest.find_first_of("# ") != absl::string_view::npos) return bad("a URL of a server has no '#' and no space");
  const size_t question = rest.find('?');
  const absl::string_view query = question == absl::string_view::npos ? absl::string_view() : rest.substr(question);
  rest = rest.substr(0, question);
  const size_t slash = rest.find('/');
  absl::string_view authority = rest.substr(0, slash);
  absl::string_view path = slash == absl::string_view::npos ? absl::string_view() : rest.substr(slash);
  while (absl::ConsumeSuffix(&path, "/")) {
  }
  if (target.grpc() && !path.empty()) return bad("a gRPC URL has no path");
  const std::string whole = absl::StrCat(path, query);
  target.call_is_chat = absl::ConsumeSuffix(&path, "/chat/completions");
  if (target.call_is_chat || absl::ConsumeSuffix(&path, "/completions")) {
    target.call_path = whole;
    target.models_path = absl::StrCat(path, "/models", query);
  } else if (!query.empty()) {
    return bad("only the URL of a call, which ends in /chat/completions or /completions, has a query");
  }
  absl::ConsumeSuffix(&path, "/v1");
  target.base_path = std::string(path);

  size_t colon = authority.rfind(':');
  if (absl::StartsWith(authority, "[")) {
    const size_t bracket = authority.find(']');
    if (bracket == absl::string_view::npos) return bad("the bracket of the address is not closed");
    target.host = std::string(authority.substr(1, bracket - 1));
    colon = authority.find(':', bracket);
  } else {
    target.host = std::string(authority.substr(0, colon));
  }
  if (colon != absl::string_view::npos) {
    uint32_t port;
    if (!absl::SimpleAtoi(authority.substr(colon + 1), &port) || port == 0 || port > 65535) {
      return bad("a port is from 1 to 65535");
    }
    target.port = static_cast<uint16_t>(port);
  }
  if (target.host.empty() || target.host.find_first_of("@ ") != std::string::npos)
    return bad("the host is missing or odd");
  return target;
}

}  // namespace hadal::bench
