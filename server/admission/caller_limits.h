// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "absl/time/time.h"
#include "server/admission/wait_forecast.h"
#include "server/request/refusal.h"

namespace hadal::admission {

// How long a caller waits.
struct CallerLimits {
  absl::Time arrival = absl::InfiniteFuture();         // of the request's headers; later than now: now
  absl::Time deadline = absl::InfiniteFuture();        // of the whole answer, further attempts included
  absl::Time first_token_by = absl::InfiniteFuture();  // of the first token of this attempt
  bool may_wait = true;                                // false: start now or refuse

  // When the first token must be there.
  absl::Time FirstBy() const { return std::min(deadline, first_token_by); }
  bool any() const { return !may_wait || FirstBy() != absl::InfiniteFuture(); }
};

struct LimitVerdict {
  request::Reason reason = request::Reason::kNone;  // nothing speaks against it
  absl::Duration left;                              // until the limit
  absl::Duration excess;                            // by which the wait is too long; may be infinite
};

// Whether a request with these limits is to be refused, when `prediction` is what it has to expect and an idle server
// would need `idle` for its first token at the very least. A deadline that allowed clearly less than that when the
// request arrived is its caller's mistake, REQUEST_NEVER_FITS; one that cannot be met now is DEADLINE_INFEASIBLE; and
// WAIT_LIMIT is for who does not wait. Nobody is refused by a prediction that is not known.
LimitVerdict Judge(const CallerLimits& limits, const WaitPrediction& prediction, absl::Duration idle, absl::Time now);

}  // namespace hadal::admission
