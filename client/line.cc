// SPDX-License-Identifier: Apache-2.0
#include "client/line.h"

#include <algorithm>
#include <cstddef>

namespace hadal::client {
namespace {

constexpr size_t kPaceAnswers = 32;  // that the pace is taken from

constexpr absl::Duration kLongestGap = absl::Seconds(1);

}  // namespace

void Line::Answered(absl::Time at) {
  base::MutexLock lock(&mutex_);
  answers_.push_back(at);
  if (answers_.size() > kPaceAnswers) answers_.pop_front();
}

void Line::Promised(absl::Time at) {
  base::MutexLock lock(&mutex_);
  next_ = std::max(next_, at);
}

absl::Time Line::NextAt() const {
  base::MutexLock lock(&mutex_);
  return next_;
}

absl::Time Line::Join(absl::Time now) {
  base::MutexLock lock(&mutex_);
  const absl::Time at = std::max(next_, now);
  next_ = at + Gap();
  return at;
}

absl::Duration Line::Gap() const {
  if (answers_.size() < 2) return kLongestGap;
  return std::min(kLongestGap, (answers_.back() - answers_.front()) / static_cast<double>(answers_.size() - 1));
}

}  // namespace hadal::client
