// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/base/flag_set.h"
#include "server/redis/client.h"

namespace hadal::redis {

// What belongs to the URL of a Redis and stands in files.
struct RedisOptions {
  std::string password_file;  // first line: password; second line, if there: ACL user. Empty: the URL has them
  std::string ca_file;        // of rediss://; empty: whom the system trusts

  // Flags --PART-redis-password-file and --PART-redis-ca; `owner` is the flag with the URL.
  void AddFlags(std::string_view part, std::string_view owner, base::FlagSet* flags);
  // InvalidArgument names the flag, `owner` for the URL, and what is wrong; never a password.
  absl::StatusOr<Endpoint> EndpointOf(std::string_view url, std::string_view part, std::string_view owner) const;
};

}  // namespace hadal::redis
