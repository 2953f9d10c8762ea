// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace hadal::redis {

// redis://[USER[:PASSWORD]@]HOST[:PORT][/DB], or rediss:// for TLS; user and password percent-encoded.
struct RedisUrl {
  std::string host;
  int port = 6379;
  std::string user, password;
  int db = 0;
  bool tls = false;
};
// Whether the text has the scheme of such a URL.
bool IsRedisUrl(std::string_view text);
// InvalidArgument says what is wrong with it, without repeating the password.
absl::StatusOr<RedisUrl> ParseRedisUrl(std::string_view url);

// Which of a cluster's 16384 hash slots has the key: CRC16 of what stands between its first braces, or of all of it.
uint16_t RedisSlot(std::string_view key);

}  // namespace hadal::redis
