// SPDX-License-Identifier: Apache-2.0
#include "server/request/token_stream.h"

#include <utility>

#include "absl/time/clock.h"
#include "server/base/check.h"

namespace hadal::request {

void TokenStream::NotifyConsumer() {
  if (notifier_ != nullptr) notifier_->Notify();
}

StreamBatch TokenStream::TakeLocked() {
  StreamBatch batch = std::move(pending_);
  pending_ = StreamBatch();
  pending_.started = batch.started;
  pending_.closed = batch.closed;
  pending_.status = batch.status;
  pending_.usage = batch.usage;
  readable_ = false;
  return batch;
}

StreamBatch TokenStream::Read() {
  StreamBatch batch;
  std::shared_ptr<WakeSignal> wake;
  {
    base::MutexLock lock(&mutex_);
    batch = TakeLocked();
    if (pending_tokens_.load(std::memory_order_relaxed) >= capacity_tokens_) wake = wake_;
    pending_tokens_.store(0, std::memory_order_relaxed);
  }
  Wake(wake);
  return batch;
}

StreamBatch TokenStream::ReadBlocking(absl::Duration timeout) {
  {
    base::MutexLock lock(&mutex_);
    const absl::Time end = absl::Now() + timeout;
    while (!readable_ && !pending_.closed) {
      const absl::Duration left = end - absl::Now();
      if (left <= absl::ZeroDuration()) break;
      changed_.WaitFor(&mutex_, left);
    }
  }
  return Read();
}

void TokenStream::Cancel() {
  if (cancelled_.exchange(true, std::memory_order_acq_rel)) return;
  std::shared_ptr<WakeSignal> wake;
  {
    base::MutexLock lock(&mutex_);
    wake = wake_;
  }
  Wake(wake);
}

void TokenStream::StopChoice(int32_t choice) {
  std::shared_ptr<WakeSignal> wake;
  {
    base::MutexLock lock(&mutex_);
    if (pending_.closed) return;
    stopped_choices_.push_back(choice);
    has_stopped_choices_.store(true, std::memory_order_release);
    wake = wake_;
  }
  Wake(wake);
}

StreamTimes TokenStream::times() const {
  base::MutexLock lock(&mutex_);
  return times_;
}

void TokenStream::SetProducerWake(std::shared_ptr<WakeSignal> wake) {
  base::MutexLock lock(&mutex_);
  wake_ = std::move(wake);
}

void TokenStream::Wake(const std::shared_ptr<WakeSignal>& wake) {
  if (wake != nullptr) wake->Notify(WakeSignal::kConsumer);
}

bool TokenStream::MarkReadable() {
  HADAL_CHECK(!pending_.closed) << "TokenStream: push after Close";
  const bool was_empty = !readable_;
  readable_ = true;
  changed_.NotifyAll();
  return was_empty;
}

void TokenStream::MarkStarted(absl::Time at) {
  bool was_empty = false;
  {
    base::MutexLock lock(&mutex_);
    was_empty = MarkReadable();
    pending_.started = true;
    times_.started = at;
  }
  if (was_empty) NotifyConsumer();
}

void TokenStream::PushPromptScores(std::vector<TokenEvent> scores) {
  bool was_empty = false;
  {
    base::MutexLock lock(&mutex_);
    was_empty = MarkReadable();
    pending_.prompt_scores = std::move(scores);
  }
  if (was_empty) NotifyConsumer();
}

void TokenStream::PushToken(TokenEvent event, absl::Time at) {
  bool was_empty = false;
  {
    base::MutexLock lock(&mutex_);
    was_empty = MarkReadable();
    pending_.tokens.push_back(std::move(event));
    if (times_.first_token == absl::InfiniteFuture()) times_.first_token = at;
    pending_tokens_.fetch_add(1, std::memory_order_relaxed);
  }
  if (was_empty) NotifyConsumer();
}

void TokenStream::EndChoice(ChoiceEnd end) {
  bool was_empty = false;
  {
    base::MutexLock lock(&mutex_);
    was_empty = MarkReadable();
    pending_.ends.push_back(end);
  }
  if (was_empty) NotifyConsumer();
}

void TokenStream::Close(absl::Status status, StreamUsage usage, absl::Time at) {
  {
    base::MutexLock lock(&mutex_);
    MarkReadable();
    pending_.closed = true;
    pending_.status = std::move(status);
    pending_.usage = usage;
    times_.ended = at;
    wake_.reset();
  }
  NotifyConsumer();
}

std::vector<int32_t> TokenStream::TakeStoppedChoices() {
  if (!has_stopped_choices_.load(std::memory_order_acquire)) return {};
  base::MutexLock lock(&mutex_);
  has_stopped_choices_.store(false, std::memory_order_relaxed);
  return std::exchange(stopped_choices_, {});
}

}  // namespace hadal::request
