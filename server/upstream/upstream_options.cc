// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/upstream_options.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/strings.h"

namespace hadal::upstream {
namespace {

constexpr int kMaxWeight = 1000;
constexpr int kMaxInFlight = 65536;
constexpr size_t kMaxNameBytes = 64;

absl::Status Wrong(std::string_view part, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("in '", base::View(part), "': ", base::View(what)));
}

// Names stand in labels and in header fields.
bool IsName(std::string_view text) {
  return !text.empty() && text.size() <= kMaxNameBytes && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-._:[]").find(c) != std::string_view::npos;
  });
}

absl::Status SetUrl(std::string_view url, TargetOptions* target) {
  const size_t scheme = url.starts_with("https://") ? 8 : url.starts_with("http://") ? 7 : 0;
  if (scheme == 0) return Wrong(url, "a URL begins with http:// or https://");
  std::string_view authority = url.substr(scheme, url.find('/', scheme) - scheme);
  const std::string_view path = url.substr(scheme + authority.size());
  if (authority.find('@') != std::string_view::npos) {
    // Not repeated: it is a secret.
    return absl::InvalidArgumentError("the URL holds a user's name or key; key-file=PATH names a file with the key");
  }
  if (url.find_first_of("?# ") != std::string_view::npos) return Wrong(url, "a base URL has no query and no fragment");
  const size_t bracket = authority.rfind(']');
  const size_t colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon != std::string_view::npos) {
    int port = 0;
    if (!absl::SimpleAtoi(base::View(authority.substr(colon + 1)), &port) || port < 1 || port > 65535) {
      return Wrong(url, "the port must be from 1 to 65535");
    }
  }
  if (!IsName(authority) || authority.substr(0, colon).empty()) return Wrong(url, "the host is missing or malformed");
  target->base_url = std::string(url);
  if (path.find_first_not_of('/') == std::string_view::npos) {
    target->base_url = absl::StrCat(base::View(url.substr(0, scheme + authority.size())), "/v1");
  }
  while (target->base_url.back() == '/') target->base_url.pop_back();
  target->name = std::string(authority);
  return absl::OkStatus();
}

absl::Status SetNumber(std::string_view part, std::string_view text, int min, int max, int* value) {
  if (absl::SimpleAtoi(base::View(text), value) && *value >= min && *value <= max) return absl::OkStatus();
  return Wrong(part, absl::StrCat("expected a number from ", min, " to ", max));
}

absl::Status SetPart(std::string_view part, TargetOptions* target) {
  const size_t equals = part.find('=');
  if (equals == std::string_view::npos) return Wrong(part, "expected KEY=VALUE");
  const std::string_view key = part.substr(0, equals);
  const std::string_view value = part.substr(equals + 1);
  if (value.empty()) return Wrong(part, "the value is missing");
  if (key == "weight") return SetNumber(part, value, 1, kMaxWeight, &target->weight);
  if (key == "max-in-flight") return SetNumber(part, value, 1, kMaxInFlight, &target->max_in_flight);
  if (key == "name" && !IsName(value)) return Wrong(part, "a name has at most 64 letters, digits and -._:[]");
  const std::pair<std::string_view, std::string*> texts[] = {{"key-file", &target->key_file},
                                                             {"ca-file", &target->ca_file},
                                                             {"model", &target->model},
                                                             {"name", &target->name}};
  for (const auto& [name, text] : texts) {
    if (key != name) continue;
    *text = std::string(value);
    return absl::OkStatus();
  }
  return Wrong(part, "the keys are weight, key-file, ca-file, model, max-in-flight and name");
}

}  // namespace

absl::StatusOr<TargetOptions> TargetOptions::Parse(std::string_view text) {
  TargetOptions target;
  bool first = true;
  for (const absl::string_view part : absl::StrSplit(base::View(text), ',')) {
    const std::string_view view = base::StdView(part);
    const absl::Status status = first ? SetUrl(view, &target) : SetPart(view, &target);
    if (!status.ok()) return status;
    first = false;
  }
  if (!target.ca_file.empty() && !target.base_url.starts_with("https://")) {
    return Wrong(text, "ca-file needs a URL with https://");
  }
  return target;
}

int64_t UpstreamOptions::max_connections() const {
  int64_t connections = 0;
  for (const TargetOptions& target : targets) connections += target.max_in_flight;
  return connections;
}

absl::Status UpstreamOptions::Validate() const {
  std::set<std::string> names;
  for (const TargetOptions& target : targets) {
    if (names.insert(target.name).second) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--fallback-upstream: two are called ", target.name, "; give each a name=NAME of its own"));
  }
  const std::pair<const char*, absl::Duration> times[] = {{"connect-timeout", connect_timeout},
                                                          {"first-byte-timeout", first_byte_timeout},
                                                          {"stall-timeout", stall_timeout},
                                                          {"timeout", timeout}};
  for (const auto& [name, time] : times) {
    if (time > absl::ZeroDuration()) continue;
    return absl::InvalidArgumentError(absl::StrCat("--fallback-", name, " must be above 0"));
  }
  return absl::OkStatus();
}

void UpstreamOptions::AddFlags(base::FlagSet* flags) {
  flags->Add({.name = "fallback-upstream",
              .help = "server that answers what this one would refuse for want of capacity, as "
                      "URL[,weight=N][,key-file=PATH][,ca-file=PATH][,model=NAME][,max-in-flight=N][,name=NAME]; "
                      "repeatable, asked in the order given",
              .default_text = "none",
              .set = [this](const std::string& text) -> absl::Status {
                absl::StatusOr<TargetOptions> target = TargetOptions::Parse(text);
                if (!target.ok()) return target.status();
                targets.push_back(*std::move(target));
                return absl::OkStatus();
              },
              .value_name = "URL[,KEY=VALUE...]",
              .repeatable = true});
  flags->AddSwitch("fallback-opt-in", &opt_in, "pass on only requests that ask for it with x-hadal-allow-fallback: 1");
  flags->AddInt("fallback-max-hops", &max_hops, {1, 8},
                "servers that a request may be passed on to, one after the other");
  flags->AddDuration("fallback-connect-timeout", &connect_timeout, "how long a connection to an upstream may take");
  flags->AddDuration("fallback-first-byte-timeout", &first_byte_timeout,
                     "how long an upstream may take to the first byte of its answer before the next one is asked");
  flags->AddDuration("fallback-stall-timeout", &stall_timeout, "how long an answer of an upstream may bring no byte");
  flags->AddDuration("fallback-timeout", &timeout, "how long a whole answer of an upstream may take");
}

}  // namespace hadal::upstream
