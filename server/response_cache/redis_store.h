// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "server/redis/client.h"
#include "server/response_cache/store.h"

namespace hadal::response_cache {

// Redis, or a cluster of which the endpoint names one node. Entries carry their time to live; Redis drops by its own
// policy (allkeys-lfu) what it has no room for.
std::unique_ptr<Store> MakeRedisStore(redis::Endpoint endpoint);

}  // namespace hadal::response_cache
