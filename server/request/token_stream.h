// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "server/request/notifier.h"
#include "server/request/output_reader.h"
#include "server/request/wake_signal.h"

namespace hadal::request {

// Bounded channel from the engine thread to one front-end consumer. Thread-safe. The producer never blocks: when
// `capacity_tokens` unread tokens are pending, Writable() is false and the engine pauses the request's sequences until
// the consumer has read; what is in flight then still arrives, so at most 2 tokens a choice are pending above the
// capacity. Dropping or cancelling the consumer end makes the engine free everything within one step.
class TokenStream : public OutputReader {
 public:
  // `notifier`, which several streams may share, is notified on the producer's thread when the stream turns from empty
  // to readable, and again when it closes. Null: nobody is told.
  explicit TokenStream(int32_t capacity_tokens, std::shared_ptr<Notifier> notifier = nullptr)
      : capacity_tokens_(capacity_tokens), notifier_(std::move(notifier)) {}
  TokenStream(const TokenStream&) = delete;
  TokenStream& operator=(const TokenStream&) = delete;

  // --- consumer end (front end) ---
  // Takes everything pending; empty batch when nothing is.
  StreamBatch Read() override;
  // Blocks until something is readable or the time-out passes (tests and simple clients).
  StreamBatch ReadBlocking(absl::Duration timeout) override;
  // Cancels the request: the engine ends it with kCancelled. Any thread, any number of times.
  void Cancel() override;
  // Ends one choice early, as after a stop string; the engine frees its sequence and ends it with kStop.
  void StopChoice(int32_t choice) override;
  StreamTimes times() const override;

  // --- producer end (the queue, then the engine thread) ---
  // Signal to raise when the consumer cancels, stops a choice or makes room in a full stream.
  void SetProducerWake(std::shared_ptr<WakeSignal> wake);
  // `at` is the time by the producer's clock; InfiniteFuture if not known.
  void MarkStarted(absl::Time at = absl::InfiniteFuture());
  void PushPromptScores(std::vector<TokenEvent> scores);
  void PushToken(TokenEvent event, absl::Time at = absl::InfiniteFuture());
  void EndChoice(ChoiceEnd end);
  // Exactly once, last. Later pushes are a programming error and end the process.
  void Close(absl::Status status, StreamUsage usage, absl::Time at = absl::InfiniteFuture());
  bool Writable() const { return pending_tokens_.load(std::memory_order_relaxed) < capacity_tokens_; }
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  // Choices that the consumer stopped since the last call.
  std::vector<int32_t> TakeStoppedChoices();

 private:
  // Marks the stream readable; true when it was empty before.
  bool MarkReadable() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NotifyConsumer();
  StreamBatch TakeLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void Wake(const std::shared_ptr<WakeSignal>& wake);

  const int32_t capacity_tokens_;
  const std::shared_ptr<Notifier> notifier_;
  std::atomic<int32_t> pending_tokens_{0};  // written under mutex_, read without it
  std::atomic<bool> cancelled_{false};
  std::atomic<bool> has_stopped_choices_{false};

  mutable base::Mutex mutex_;
  base::CondVar changed_;
  StreamTimes times_ ABSL_GUARDED_BY(mutex_);
  StreamBatch pending_ ABSL_GUARDED_BY(mutex_);
  bool readable_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<int32_t> stopped_choices_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<WakeSignal> wake_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hadal::request
