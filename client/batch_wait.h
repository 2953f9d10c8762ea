// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "client/batch_client.h"

namespace hadal::client {

// Looks at a batch until it has ended. Has no thread: each look begins the next one.
class BatchWait final : public std::enable_shared_from_this<BatchWait> {
 public:
  // One look, which is over by the deadline.
  using Look = std::function<void(absl::Time deadline, BatchClient::Done<Batch> done)>;

  BatchWait(WaitOptions options, Look look, BatchClient::Done<Batch> done)
      : options_(std::move(options)),
        deadline_(absl::Now() + options_.deadline),
        look_(std::move(look)),
        done_(std::move(done)),
        interval_(options_.first_interval) {}

  // Once.
  void Start() { LookAgain(); }

 private:
  void LookAgain();
  void Seen(absl::StatusOr<Batch> batch);

  const WaitOptions options_;
  const absl::Time deadline_;
  const Look look_;
  const BatchClient::Done<Batch> done_;
  absl::Duration interval_;
  std::string last_ = "no server has answered";  // what the last look saw, or why it saw nothing
};

}  // namespace hadal::client
