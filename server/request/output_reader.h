// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

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

// Times of the engine's events; InfiniteFuture if one has not happened or is not known.
struct StreamTimes {
  absl::Time started = absl::InfiniteFuture();      // the request left the queue
  absl::Time first_token = absl::InfiniteFuture();  // was sampled
  absl::Time ended = absl::InfiniteFuture();
};

// The result of one read, in order: prompt scores, tokens, ends, then the close.
struct StreamBatch {
  std::vector<TokenEvent> prompt_scores;  // [prompt - 1] once, when prompt_logprobs was asked for
  std::vector<TokenEvent> tokens;
  std::vector<ChoiceEnd> ends;
  bool started = false;  // the request has left the queue and runs (stays true)
  bool closed = false;   // nothing follows; `status` and `usage` are final (stays true)
  absl::Status status;   // of the whole request
  StreamUsage usage;
};

// The consumer end of one request's output, as a front end holds it. Thread-safe; one thread at a time reads.
class OutputReader {
 public:
  virtual ~OutputReader() = default;

  // Takes everything that is new; an empty batch when nothing is.
  virtual StreamBatch Read() = 0;
  // Blocks until something is readable or the time-out passes (tests and simple clients).
  virtual StreamBatch ReadBlocking(absl::Duration timeout) = 0;
  // Cancels the output, which then ends with CANCELLED. Any thread, any number of times.
  virtual void Cancel() = 0;
  // Ends one choice early, as after a stop string.
  virtual void StopChoice(int32_t choice) = 0;
  // Times of the engine's events for this reader.
  virtual StreamTimes times() const = 0;
};

}  // namespace hadal::request
