// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/response_cache/store.h"

namespace hadal::response_cache {

// redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]; user and password percent-encoded.
struct RedisUrl {
  std::string host;
  int port = 6379;
  std::string user, password;
  int db = 0;
};
// InvalidArgument says what is wrong with it, without repeating the password.
absl::StatusOr<RedisUrl> ParseRedisUrl(std::string_view url);

// Which of a cluster's 16384 hash slots has the key: CRC16 of all of it, as it has no hash tag.
uint16_t RedisSlot(std::string_view key);

// Redis, or a cluster of which `url` names one node: a node that says where a key is (MOVED, ASK) is followed, and what
// has moved is remembered. Entries carry their time to live; Redis drops by its own policy (allkeys-lfu) what it has
// no room for.
std::unique_ptr<Store> MakeRedisStore(RedisUrl url);

}  // namespace hadal::response_cache
