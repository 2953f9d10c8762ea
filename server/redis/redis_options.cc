// SPDX-License-Identifier: Apache-2.0
#include "server/redis/redis_options.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/read_file.h"
#include "server/base/strings.h"

namespace hadal::redis {
namespace {

constexpr int64_t kMaxPasswordBytes = 64 << 10;

std::string FlagOf(std::string_view part, absl::string_view name) {
  return absl::StrCat(base::View(part), "-redis-", name);
}

absl::Status Wrong(absl::string_view flag, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("--", flag, ": ", why));
}

}  // namespace

void RedisOptions::AddFlags(std::string_view part, std::string_view owner, base::FlagSet* flags) {
  flags->AddText(FlagOf(part, "password-file"), &password_file,
                 absl::StrCat("file with the password for the Redis of --", base::View(owner),
                              " in its first line, and in its second, if there is one, the ACL user"),
                 "none");
  flags->AddText(
      FlagOf(part, "ca"), &ca_file,
      absl::StrCat("PEM file of the authorities that may sign the certificate of a rediss:// of --", base::View(owner)),
      "the system's");
}

absl::StatusOr<Endpoint> RedisOptions::EndpointOf(std::string_view url, std::string_view part,
                                                  std::string_view owner) const {
  absl::StatusOr<RedisUrl> parsed = ParseRedisUrl(url);
  if (!parsed.ok()) return Wrong(base::View(owner), parsed.status().message());
  Endpoint endpoint{.url = *std::move(parsed)};
  if (!password_file.empty()) {
    const std::string flag = FlagOf(part, "password-file");
    const absl::StatusOr<std::string> text = base::ReadFile(password_file, kMaxPasswordBytes);
    if (!text.ok()) return Wrong(flag, text.status().message());
    const std::vector<absl::string_view> lines = absl::StrSplit(*text, '\n');
    endpoint.url.password = std::string(absl::StripSuffix(lines[0], "\r"));
    if (endpoint.url.password.empty())
      return Wrong(flag, absl::StrCat("the first line of ", password_file, " is empty"));
    const absl::string_view user = lines.size() > 1 ? absl::StripSuffix(lines[1], "\r") : "";
    if (!user.empty()) endpoint.url.user = std::string(user);
  }
  if (!ca_file.empty() && !endpoint.url.tls) {
    return Wrong(FlagOf(part, "ca"), absl::StrCat("the URL of --", base::View(owner), " is no rediss://"));
  }
  if (endpoint.url.tls) {
    auto trust = TlsTrust::Load(ca_file);
    if (!trust.ok()) return Wrong(FlagOf(part, "ca"), trust.status().message());
    endpoint.trust = *std::move(trust);
  }
  return endpoint;
}

}  // namespace hadal::redis
