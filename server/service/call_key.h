// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/response_cache/output_key.h"
#include "server/service/prepared_call.h"

namespace hadal::service {

// Under which the response cache has the output of a call that passed CheckCall, for its tenant or for all; empty: the
// output may differ the next time.
response_cache::CacheKey KeyOf(const PreparedCall& call, bool for_all_tenants);

}  // namespace hadal::service
