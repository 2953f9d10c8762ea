// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "absl/time/time.h"
#include "server/admission/wait_forecast.h"
#include "server/request/refusal.h"

namespace hadal::admission {

// How long a caller is willing to wait.
struct CallerLimits {
  absl::Time arrival = absl::InfiniteFuture();         // of the request's headers; treated as now if in the future
  absl::Time deadline = absl::InfiniteFuture();        // of the whole answer, further attempts included
  absl::Time first_token_by = absl::InfiniteFuture();  // of the first token of this attempt
  bool may_wait = true;                                // false: start now or refuse

  // When the first token must be there.
  absl::Time FirstBy() const { return std::min(deadline, first_token_by); }
  bool any() const { return !may_wait || FirstBy() != absl::InfiniteFuture(); }
};

struct LimitVerdict {
  request::Reason reason = request::Reason::kNone;  // kNone: accept
  absl::Duration left;                              // until the limit
  absl::Duration excess;                            // how much too long the wait is; may be infinite
};

// Whether to refuse a request with these limits, given the predicted wait and the minimum time to first token on an
// idle server (`idle`):
//   REQUEST_NEVER_FITS   the deadline was clearly below `idle` when the request arrived: a mistake of the caller
//   DEADLINE_INFEASIBLE  the deadline cannot be met under the current load
//   WAIT_LIMIT           the caller does not want to wait
// An unknown prediction never refuses.
LimitVerdict Judge(const CallerLimits& limits, const WaitPrediction& prediction, absl::Duration idle, absl::Time now);

}  // namespace hadal::admission
