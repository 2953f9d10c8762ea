// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "absl/time/time.h"

namespace hadal::batches {

// The number of lines that may be in flight, adapted to the server's capacity: increased by one per window of answers,
// halved after a refusal (additive increase, multiplicative decrease, as in TCP). Pure arithmetic on times passed in;
// not thread-safe.
class SendWindow {
 public:
  // Maximum lines in flight alongside requests of more urgent classes: it keeps the p99 of their time to first token
  // and inter-token latency within 1.05 of the values without a batch (docs/overload.md).
  static constexpr int kBesideOthers = 16;
  // Others come as long as one came in this time.
  static constexpr absl::Duration kLately = absl::Seconds(10);

  explicit SendWindow(int most) : most_(most), size_(std::min(most, kFirst)) {}

  // Lines that may be in flight at a time; at least 1.
  int size() const { return static_cast<int>(size_); }
  // `others`: requests of more urgent classes come, too.
  bool MayStart(int in_flight, absl::Time now, bool others) const {
    return in_flight < (others ? std::min(size(), kBesideOthers) : size()) && now >= not_before_;
  }
  // Nothing starts earlier.
  absl::Time not_before() const { return not_before_; }

  void OnAnswer() { size_ = std::min<double>(most_, size_ + 1 / size_); }
  // A line that was sent at `sent` was refused, and may return after `retry_after`. Lines of one window that are
  // refused together halve it once.
  void OnRefusal(absl::Time sent, absl::Time now, absl::Duration retry_after) {
    not_before_ = std::max(not_before_, now + retry_after);
    if (sent < cut_) return;
    cut_ = now;
    size_ = std::max(1.0, size_ / 2);
  }

 private:
  static constexpr int kFirst = 4;

  const int most_;
  double size_;
  absl::Time not_before_ = absl::InfinitePast();
  absl::Time cut_ = absl::InfinitePast();  // when it was halved last
};

}  // namespace hadal::batches
