// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "server/service/body_budget.h"

namespace hadal::http {

// A body in memory with the lease of its bytes; freed together, so it is dropped as soon as it has been parsed. One
// that is passed on gives its lease back before (PassOn). Move-only.
struct RequestBody {
  service::BodyBudget::Lease lease;
  std::string text;
};

}  // namespace hadal::http
