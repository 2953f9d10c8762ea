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
#include "server/request/wake_signal.h"

namespace hadal::request {

enum class FinishReason : uint8_t { kNone, kStop, kLength, kCancelled, kInsufficientSystemResource, kError };

struct TokenLogprob {
  int32_t token_id = 0;
  float logprob = 0.0f;
};

// One generated token of one choice.
struct TokenEvent {
  int32_t choice = 0;
  int32_t token_id = 0;
  float logprob = 0.0f;  // valid when log-probabilities were asked for
  std::vector<TokenLogprob> top;
};

// The end of one choice. A stop token is not delivered as a TokenEvent; it is named here.
struct ChoiceEnd {
  int32_t choice = 0;
  FinishReason reason = FinishReason::kNone;
  int32_t stop_token = -1;  // token that ended it, when it was one
};

struct StreamUsage {
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;      // prompt tokens taken from the prefix cache
  int32_t completion_tokens = 0;  // all choices, stop tokens included
};

// When the engine did what; InfiniteFuture: it has not, or nobody said.
struct StreamTimes {
  absl::Time started = absl::InfiniteFuture();      // the request left the queue
  absl::Time first_token = absl::InfiniteFuture();  // was sampled
  absl::Time ended = absl::InfiniteFuture();
};

// What a consumer gets in one read, in order: prompt scores, tokens, ends, then the close.
struct StreamBatch {
  std::vector<TokenEvent> prompt_scores;  // [prompt - 1] once, when prompt_logprobs was asked for
  std::vector<TokenEvent> tokens;
  std::vector<ChoiceEnd> ends;
  bool started = false;  // the request has left the queue: the engine runs it (stays true)
  bool closed = false;   // no more will come; `status` and `usage` are final (stays true)
  absl::Status status;   // of the whole request
  StreamUsage usage;
};

// Bounded channel from the engine thread to one front-end consumer. Thread-safe. The producer never blocks: when
// `capacity_tokens` unread tokens are pending, Writable() is false and the engine pauses the request's sequences until
// the consumer has read; what is in flight then still arrives, so at most 2 tokens a choice are pending above the
// capacity. Dropping or cancelling the consumer end makes the engine free everything within one step.
class TokenStream {
 public:
  // `notifier`, which several streams may share, is notified on the producer's thread when the stream turns from empty
  // to readable, and again when it closes. Null: nobody is told.
  explicit TokenStream(int32_t capacity_tokens, std::shared_ptr<Notifier> notifier = nullptr)
      : capacity_tokens_(capacity_tokens), notifier_(std::move(notifier)) {}
  TokenStream(const TokenStream&) = delete;
  TokenStream& operator=(const TokenStream&) = delete;

  // --- consumer end (front end) ---
  // Takes everything pending; empty batch when nothing is.
  StreamBatch Read();
  // Blocks until something is readable or the time-out passes (tests and simple clients).
  StreamBatch ReadBlocking(absl::Duration timeout);
  // The caller is gone or has enough: the engine ends the request with kCancelled. Any number of times,
  // from any thread.
  void Cancel();
  // Ends one choice early, as after a stop string; the engine frees its sequence and ends it with kStop.
  void StopChoice(int32_t choice);
  StreamTimes times() const;

  // --- producer end (the queue, then the engine thread) ---
  // Signal to raise when the consumer cancels, stops a choice or makes room in a full stream.
  void SetProducerWake(std::shared_ptr<WakeSignal> wake);
  // Times `at` are the producer's clock; left out: not told.
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
