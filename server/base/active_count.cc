// SPDX-License-Identifier: Apache-2.0
#include "server/base/active_count.h"

#include "server/base/clock.h"

namespace hadal::base {

void ActiveCount::Add() {
  MutexLock lock(&mutex_);
  ++value_;
}

void ActiveCount::Done() {
  MutexLock lock(&mutex_);
  if (--value_ == 0) changed_.NotifyAll();
}

int64_t ActiveCount::value() const {
  MutexLock lock(&mutex_);
  return value_;
}

bool ActiveCount::WaitZero(absl::Duration timeout) const {
  const absl::Time deadline = Clock::Real()->Now() + timeout;
  return WaitZero([deadline] { return deadline; });
}

bool ActiveCount::WaitZero(absl::FunctionRef<absl::Time()> until) const {
  MutexLock lock(&mutex_);
  while (value_ > 0) {
    const absl::Time deadline = until();
    if (deadline <= Clock::Real()->Now()) break;
    Clock::Real()->WaitUntil(&changed_, &mutex_, deadline);
  }
  return value_ == 0;
}

void ActiveCount::LookAgain() {
  MutexLock lock(&mutex_);
  changed_.NotifyAll();
}

}  // namespace hadal::base
