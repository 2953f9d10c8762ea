// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/replay_reader.h"

#include <algorithm>
#include <utility>

#include "server/base/check.h"
#include "server/request/refusal.h"

namespace hadal::response_cache {
namespace {

// A client is not told more often: tokens that come faster are read together.
constexpr absl::Duration kShortestPause = absl::Milliseconds(5);

}  // namespace

ReplayReader::ReplayReader(RecordedOutput output, Options options)
    : options_(std::move(options)),
      tokens_per_second_(options_.tokens_per_second * static_cast<double>(std::max<size_t>(1, output.ends.size()))),
      begun_(options_.timer == nullptr ? absl::InfinitePast() : options_.timer->clock().Now()),
      output_(std::move(output)) {
  HADAL_CHECK(tokens_per_second_ == 0 || options_.timer != nullptr) << "a paced replay needs a timer";
}

absl::Time ReplayReader::Now() const {
  return options_.timer == nullptr ? absl::InfinitePast() : options_.timer->clock().Now();
}

absl::Time ReplayReader::DueAt(size_t index) const {
  if (tokens_per_second_ <= 0) return absl::InfinitePast();
  return begun_ + absl::Seconds(static_cast<double>(index) / tokens_per_second_);
}

request::StreamBatch ReplayReader::Read() {
  request::StreamBatch batch;
  batch.started = true;
  absl::Time wake_at = absl::InfiniteFuture();
  {
    base::MutexLock lock(&mutex_);
    if (cancelled_ && !ended_) {
      batch.closed = true;
      batch.status = request::MakeError(request::Reason::kCancelled, "the caller has cancelled the request");
      return batch;
    }
    const absl::Time now = Now();
    while (next_ < output_.tokens.size() && DueAt(next_) <= now) {
      batch.tokens.push_back(std::move(output_.tokens[next_++]));
    }
    if (next_ == output_.tokens.size()) {
      batch.ends = std::exchange(output_.ends, {});
      batch.closed = ended_ = true;
    } else {
      wake_at = std::max(DueAt(next_), now + kShortestPause);
    }
    batch.usage.cached_tokens = output_.cached_tokens;
    batch.usage.completion_tokens = static_cast<int32_t>(next_);
  }
  if (wake_at != absl::InfiniteFuture() && options_.notifier != nullptr) {
    options_.timer->At(wake_at, [notifier = options_.notifier] { notifier->Notify(); });
  }
  return batch;
}

request::StreamBatch ReplayReader::ReadBlocking(absl::Duration timeout) {
  if (tokens_per_second_ > 0) {
    base::MutexLock lock(&mutex_);
    const absl::Time give_up = Now() + timeout;
    while (!cancelled_ && next_ < output_.tokens.size()) {
      const absl::Time until = std::min(DueAt(next_), give_up);
      if (until <= Now()) break;
      options_.timer->clock().WaitUntil(&changed_, &mutex_, until);
    }
  }
  return Read();
}

void ReplayReader::Cancel() {
  base::MutexLock lock(&mutex_);
  cancelled_ = true;
  changed_.NotifyAll();
}

}  // namespace hadal::response_cache
