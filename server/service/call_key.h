// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/response_cache/output_key.h"
#include "server/service/prepared_call.h"

namespace hadal::service {

// The key of a call's output in the response cache, for its tenant or for all tenants. The call must have passed
// CheckCall. Empty if the output is not reproducible.
response_cache::CacheKey KeyOf(const PreparedCall& call, bool for_all_tenants);

}  // namespace hadal::service
