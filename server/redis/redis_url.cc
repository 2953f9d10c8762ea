// SPDX-License-Identifier: Apache-2.0
#include "server/redis/redis_url.h"

#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/percent_decode.h"
#include "server/base/strings.h"

namespace hadal::redis {
namespace {

constexpr std::string_view kScheme = "redis://", kTlsScheme = "rediss://";

// What stands behind the last `separator`, which is taken off with it; nullopt: there is none.
std::optional<std::string_view> TakeBehindLast(char separator, std::string_view* text) {
  const size_t at = text->rfind(separator);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view behind = text->substr(at + 1);
  *text = text->substr(0, at);
  return behind;
}

absl::Status Wrong(std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("the Redis URL has ", base::View(what), "; expected redis[s]://[USER[:PASSWORD]@]HOST[:PORT][/DB]"));
}

absl::Status ReadLogin(std::string_view login, RedisUrl* url) {
  const size_t colon = login.find(':');
  const auto user = base::PercentDecode(login.substr(0, colon));
  const auto password = base::PercentDecode(colon == std::string_view::npos ? "" : login.substr(colon + 1));
  if (!user.has_value() || !password.has_value()) return Wrong("a user or password that is not percent-encoded");
  url->user = *user;
  url->password = *password;
  return absl::OkStatus();
}

}  // namespace

bool IsRedisUrl(std::string_view text) { return text.starts_with(kScheme) || text.starts_with(kTlsScheme); }

absl::StatusOr<RedisUrl> ParseRedisUrl(std::string_view text) {
  if (!IsRedisUrl(text)) return Wrong("another scheme");
  RedisUrl url;
  url.tls = text.starts_with(kTlsScheme);
  text.remove_prefix(url.tls ? kTlsScheme.size() : kScheme.size());
  std::string_view rest = text;
  if (const size_t at = rest.rfind('@'); at != std::string_view::npos) {
    if (absl::Status status = ReadLogin(rest.substr(0, at), &url); !status.ok()) return status;
    rest.remove_prefix(at + 1);
  }
  if (const auto db = TakeBehindLast('/', &rest); db.has_value() && !db->empty()) {
    if (!absl::SimpleAtoi(base::View(*db), &url.db) || url.db < 0) return Wrong("a database that is no number");
  }
  const bool literal_v6 = !rest.empty() && rest.front() == '[';
  const size_t v6_end = literal_v6 ? rest.find(']') : 0;
  if (v6_end == std::string_view::npos) return Wrong("an IPv6 address without its end");
  if (rest.find(':', v6_end) != std::string_view::npos) {
    const auto port = TakeBehindLast(':', &rest);
    if (!absl::SimpleAtoi(base::View(*port), &url.port) || url.port < 1 || url.port > 65535) {
      return Wrong("a port outside 1 to 65535");
    }
  }
  url.host = literal_v6 ? rest.substr(1, v6_end - 1) : rest;
  if (url.host.empty()) return Wrong("no host");
  return url;
}

uint16_t RedisSlot(std::string_view key) {
  const size_t open = key.find('{');
  const size_t close = open == std::string_view::npos ? open : key.find('}', open + 1);
  if (close != std::string_view::npos && close > open + 1) key = key.substr(open + 1, close - open - 1);
  // CRC-16/XMODEM.
  uint16_t crc = 0;
  for (const char byte : key) {
    crc = static_cast<uint16_t>(crc ^ (static_cast<uint8_t>(byte) << 8));
    for (int bit = 0; bit < 8; ++bit) {
      crc = static_cast<uint16_t>((crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1);
    }
  }
  return crc % 16384;
}

}  // namespace hadal::redis
