// SPDX-License-Identifier: Apache-2.0
#include "client/batch_wait.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/run_soon.h"

namespace hadal::client {
namespace {

// The server may be back by the next look.
bool Passes(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status) || absl::IsDeadlineExceeded(status);
}

}  // namespace

void BatchWait::LookAgain() {
  look_(deadline_, [self = shared_from_this()](absl::StatusOr<Batch> batch) { self->Seen(std::move(batch)); });
}

void BatchWait::Seen(absl::StatusOr<Batch> batch) {
  if (batch.ok() ? batch->HasEnded() : !Passes(batch.status())) {
    if (batch.ok() && options_.on_progress != nullptr) options_.on_progress(*batch);
    return done_(std::move(batch));
  }
  if (batch.ok()) {
    if (options_.on_progress != nullptr && !options_.on_progress(*batch)) {
      return done_(absl::CancelledError("the wait was ended; the batch goes on"));
    }
    last_ = absl::StrCat(batch->completed, " of ", batch->total, " lines answered");
  } else if (!absl::IsDeadlineExceeded(batch.status())) {
    last_ = std::string(batch.status().message());
  }
  const absl::Duration left = deadline_ - absl::Now();
  if (left <= interval_) {
    return RunAfter(std::max(left, absl::ZeroDuration()), [self = shared_from_this()] {
      self->done_(absl::DeadlineExceededError(absl::StrCat(
          "the batch has not ended within ", absl::FormatDuration(self->options_.deadline), ": ", self->last_)));
    });
  }
  RunAfter(interval_, [self = shared_from_this()] { self->LookAgain(); });
  interval_ = std::min(2 * interval_, options_.max_interval);
}

}  // namespace hadal::client
