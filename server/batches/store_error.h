// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace hadal::batches {

// What a client is told of an error of the database: STORAGE_FULL or INTERNAL, without its paths, which go to the log.
// OK stays OK, and so does an error that is for clients already (request::MakeError).
absl::Status ClientError(const absl::Status& status);

// TENANT_QUOTA of what a tenant may keep; `what` names it, the limit and the value, and what to do.
absl::Status QuotaUsedUp(absl::string_view what);

}  // namespace hadal::batches
