// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/request/output_reader.h"
#include "server/response_cache/cache_control.h"
#include "server/service/degradation.h"
#include "server/service/served_model.h"
#include "server/service/text_stream.h"
#include "server/service/thinking_control.h"

namespace hadal::service {

struct Usage {
  int32_t prompt_tokens = 0;
  int32_t completion_tokens = 0;  // all choices, reasoning and stop tokens included
  int32_t reasoning_tokens = 0;   // part of completion_tokens
  int32_t cache_hit_tokens = 0;   // prompt tokens taken from the prefix cache
  int32_t tool_calls = 0;
  int32_t broken_tool_blocks = 0;  // began as tool calls but were malformed: delivered as text
  int32_t thinking_cuts = 0;       // choices whose reasoning was ended by the call's limit
  int32_t cache_miss_tokens() const { return prompt_tokens - cache_hit_tokens; }
  Usage& operator+=(const Usage& other);
};

// What is new since the last read.
struct CallUpdate {
  bool started = false;                    // the engine has begun to run the request, now or earlier
  std::vector<ScoredToken> prompt_scores;  // once, when prompt_logprobs was asked for: prompt tokens from the second on
  std::vector<ChoiceDelta> deltas;         // at most one per choice, in choice order
  bool done = false;                       // nothing more follows; status and usage are final
  bool every_choice_finished = false;      // with `done`: each choice has given a finish reason
  absl::Status status;
  Usage usage;

  bool empty() const { return prompt_scores.empty() && deltas.empty() && !done; }
};

// A request between enqueueing and its last delta, seen from a front end. Destroying it cancels what still runs.
// Not thread-safe, except where said; one front-end executor at a time uses it.
class ActiveCall {
 public:
  struct Options {
    std::shared_ptr<const ServedModel> model;
    std::string request_id;
    std::vector<int32_t> prompt_token_ids;
    std::shared_ptr<request::OutputReader> stream;
    std::shared_ptr<const StopStrings> stop;
    TextStream::Options text;  // `choice` is set by ActiveCall
    int32_t n = 1;
    bool reasoning = false;        // the output may have a reasoning part: report reasoning tokens
    bool partial_grammar = false;  // see CallGrammar::partial
    std::shared_ptr<const std::atomic<int32_t>> thinking_cuts;  // Usage's, counted by the engine; null: no limit
    std::shared_ptr<ThinkingSwitch> thinking_switch;            // set while a choice reasons; may be null
    ThinkingControls::Registration thinking_registration;       // of that switch, as long as the call runs
    Rung degraded = Rung::kNone;
    response_cache::CacheResult cache = response_cache::CacheResult::kNone;
  };

  explicit ActiveCall(Options options);
  ~ActiveCall();
  ActiveCall(const ActiveCall&) = delete;
  ActiveCall& operator=(const ActiveCall&) = delete;

  // Non-blocking; the output's notifier tells when there is something new. Tokens that have accumulated are merged into
  // one delta per choice.
  CallUpdate Read();
  // The same, but waits for something to read (tests, synchronous callers).
  CallUpdate ReadBlocking(absl::Duration timeout);
  // Thread-safe. Read() then ends with CANCELLED; what nobody else reads the engine frees within one step.
  void Cancel();

  const ServedModel& model() const { return *options_.model; }
  const std::string& request_id() const { return options_.request_id; }
  const std::vector<int32_t>& prompt_token_ids() const { return options_.prompt_token_ids; }
  // What has been read so far; all of it once an update was `done`.
  Usage usage() const;
  // Thread-safe.
  request::StreamTimes times() const { return options_.stream->times(); }
  bool returns_token_ids() const { return options_.text.token_ids; }
  bool has_reasoning() const { return options_.reasoning; }
  // Whether the grammar does not enforce all of a tool's schema; reported to the client (x-hadal-grammar).
  bool has_partial_grammar() const { return options_.partial_grammar; }
  // The rung of the degradation ladder that answers; reported to the client (x-hadal-degraded).
  Rung degraded() const { return options_.degraded; }
  // The result in the response cache; reported to the client (x-hadal-cache).
  response_cache::CacheResult cache() const { return options_.cache; }
  int32_t n() const { return options_.n; }

 private:
  CallUpdate Process(request::StreamBatch batch);
  void TellSwitch() const;

  Options options_;
  std::vector<std::unique_ptr<TextStream>> choices_;
  bool started_ = false;
  bool done_ = false;
  int32_t cache_hit_tokens_ = 0;  // known at the end
};

}  // namespace hadal::service
