// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

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
  float logprob = 0.0f;               // valid when log-probabilities were asked for
  std::vector<TokenLogprob> top;
};

// One choice came to its end. A stop token is not delivered as a TokenEvent; it is named here.
struct ChoiceEnd {
  int32_t choice = 0;
  FinishReason reason = FinishReason::kNone;
  int32_t stop_token = -1;            // token that ended it, when it was one
};

struct StreamUsage {
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;          // prompt tokens taken from the prefix cache
  int32_t completion_tokens = 0;      // all choices, stop tokens included
};

// What a consumer gets in one read, in order: prompt scores, tokens, ends, then the close.
struct StreamBatch {
  std::vector<TokenEvent> prompt_scores;  // [prompt - 1] once, when prompt_logprobs was asked for
  std::vector<TokenEvent> tokens;
  std::vector<ChoiceEnd> ends;
  bool started = false;               // the request has left the queue: the engine runs it
  bool closed = false;                // no more will come; `status` and `usage` are final
  absl::Status status;                // of the whole request
  StreamUsage usage;
};

// Bounded channel from the engine thread to one front-end consumer. Thread-safe. The producer never blocks: when
// `capacity_tokens` unread tokens are pending, Writable() is false and the engine pauses the request's sequences until the
// consumer has read. Dropping or cancelling the consumer end makes the engine free everything within one step.
// The notify callback runs on the engine thread without locks held: it may only post work elsewhere. It is called when the
// stream turns from empty to readable, and again when it closes.
class TokenStream {
 public:
  explicit TokenStream(int32_t capacity_tokens) : capacity_tokens_(capacity_tokens) {}

  // --- consumer end (front end) ---
  // Registers the callback; called at once when something is already readable. Passing nullptr removes it, and after that
  // call returned it does not run any more.
  void SetNotify(std::function<void()> notify);
  // Takes everything pending; empty batch when nothing is.
  StreamBatch Read();
  // Blocks until something is readable or the time-out passes (tests and simple clients).
  StreamBatch ReadBlocking(absl::Duration timeout);
  // The caller is gone or has enough: the engine ends the request with kCancelled.
  void Cancel();
  // Ends one choice early, as after a stop string; the engine frees its sequence and ends it with kStop.
  void StopChoice(int32_t choice);

  // --- producer end (engine thread) ---
  void MarkStarted();
  void PushPromptScores(std::vector<TokenEvent> scores);
  void PushToken(TokenEvent event);
  void EndChoice(ChoiceEnd end);
  // Exactly once, last.
  void Close(absl::Status status, StreamUsage usage);
  bool Writable() const;
  bool cancelled() const;
  // Choices that the consumer stopped since the last call.
  std::vector<int32_t> TakeStoppedChoices();
  // Tokens pending, and since when the stream has been full (nullopt: it is not); for the slow-reader time-out.
  std::optional<absl::Time> FullSince() const;
};

}  // namespace hadal::request
