// SPDX-License-Identifier: Apache-2.0
#include "client/hedging.h"

#include <algorithm>

namespace hadal::client {
namespace {

constexpr size_t kAnswers = 256, kFewestAnswers = 20;

// What a calm time may save up: a server that stops then is hedged against at once, but not by a flood.
constexpr double kMostHedges = 10;

// Twenty times 0.05 is 1.
constexpr double kRounding = 1e-9;

}  // namespace

void Hedging::OnCall() {
  base::MutexLock lock(&mutex_);
  stock_ = std::min(stock_ + options_.max_share, kMostHedges);
}

void Hedging::OnAnswer(CallKind kind, absl::Duration after) {
  if (options_.quantile <= 0) return;
  base::MutexLock lock(&mutex_);
  Answers& answers = answers_[static_cast<size_t>(kind)];
  if (answers.last.size() < kAnswers) {
    answers.last.push_back(after);
  } else {
    answers.last[answers.next++ % kAnswers] = after;
  }
}

absl::Duration Hedging::Delay(CallKind kind) const {
  if (options_.quantile <= 0) return options_.delay;
  std::vector<absl::Duration> last;
  {
    base::MutexLock lock(&mutex_);
    last = answers_[static_cast<size_t>(kind)].last;
  }
  if (last.size() < kFewestAnswers) return absl::InfiniteDuration();
  const auto at = last.begin() + static_cast<ptrdiff_t>(options_.quantile * static_cast<double>(last.size()));
  std::nth_element(last.begin(), at, last.end());
  return options_.delay == absl::InfiniteDuration() ? *at : std::max(*at, options_.delay);
}

bool Hedging::Take() {
  base::MutexLock lock(&mutex_);
  if (stock_ < 1 - kRounding) return false;
  stock_ = std::max(stock_ - 1, 0.0);
  return true;
}

void Hedging::GiveBack() {
  base::MutexLock lock(&mutex_);
  stock_ += 1;
}

}  // namespace hadal::client
