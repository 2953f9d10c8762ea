// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "models/token_grammar.h"
#include "server/admission/admission.h"
#include "server/engine/prefix_cache.h"
#include "server/engine/sampling_state.h"
#include "server/engine/window_cache.h"
#include "server/request/request.h"

namespace hadal::engine {

struct ActiveRequest;

// The order in which requests are served when not all can be: by class, then those that are owed service
// (admission::TenantQueue). Smaller is more urgent.
using Urgency = int;
inline constexpr Urgency kUrgencies = 2 * request::kNumPriorities;
inline Urgency UrgencyOf(request::Priority priority, bool owed) {
  return 2 * static_cast<Urgency>(priority) + (owed ? 0 : 1);
}

// kWaiting: no blocks; a choice that has not started, or was preempted.  kRunning: has blocks, takes part in steps.
// kEnded: blocks returned; waits to be deleted.
enum class SequenceState : uint8_t { kWaiting, kRunning, kEnded };

// One choice of a request: its tokens and the state of its KV cache. Owned by its ActiveRequest, used by the engine
// thread.
//
//   tokens:    [ prompt ............ | output ..... ]        known
//   computed:  [ in the cache ............ ]                 after the last finished step
//   scheduled: [ in the cache once the launched and planned steps have run ... ]
// length() counts tokens that those steps will sample, too; scheduled never passes length().
struct Sequence {
  Sequence(ActiveRequest* request, int32_t choice_index, int32_t vocab_size);

  int32_t length() const { return static_cast<int32_t>(tokens.size()) + pending_samples; }
  int32_t remaining() const { return length() - scheduled; }
  int32_t produced() const { return static_cast<int32_t>(tokens.size()) - prompt_tokens; }
  // The steps in progress bring it to its length limit, so there is nothing more to schedule.
  bool ends_by_length() const {
    return max_tokens > 0 ? produced() + pending_samples >= max_tokens : scheduled >= prompt_tokens;
  }
  // Its prompt still has to be scored. Such a sequence is not preempted, because its scores would be computed twice.
  bool scoring() const;

  ActiveRequest* const owner;
  const int32_t choice;
  const int32_t prompt_tokens;
  const int32_t max_tokens;
  const uint64_t order;  // by start of the request, then by choice: who was first

  SequenceState state = SequenceState::kWaiting;
  std::vector<int32_t> tokens;  // prompt, then output
  std::vector<int32_t> blocks;  // block table
  int32_t length_mark = 0;      // with more output tokens than this, its progress is recorded
  int32_t leased_tokens = 0;    // whose blocks the ticket's lease has, for this choice
  WindowTable window;           // the same of the window pool; empty when the model has no window
  int32_t computed = 0;
  int32_t scheduled = 0;
  int32_t pending_samples = 0;  // tokens that launched or planned steps will sample: 0, 1 or 2
  int32_t next_sample = 0;      // of the step in flight: the one that gives its next token (FeedInput)
  uint64_t last_plan = 0;       // the last that has rows of it
  int32_t scored = 0;           // prompt tokens after the first whose score has been asked for
  uint32_t epoch = 0;           // counts preemptions: rows planned before one say nothing about the cache after it
  int32_t preemptions = 0;
  int32_t recompute_until = 0;   // tokens below this were computed once before
  bool non_preemptible = false;  // preempted often enough: only when all are, or never without max_preemptions
  PrefixChain chain;             // full blocks that the prefix cache knows
  SamplingState sampling;
  std::unique_ptr<models::TokenConstraint> constraint;  // null without a grammar; has accepted every output token
  absl::Status constraint_error;                        // why the constraint gave no mask
};

// A request that has left the queue, until its stream is closed. Owned by the scheduler.
struct ActiveRequest {
  std::unique_ptr<request::Request> request;
  admission::Ticket ticket;
  uint64_t order = 0;
  size_t index = 0;  // in Scheduler::requests_
  std::vector<std::unique_ptr<Sequence>> choices;
  int32_t open_choices = 0;
  // Blocks leased for each choice: at the start, or now where leases follow answers. Extensions by an overrun are also
  // returned at the end, but ignored here: they roughly cancel out with those that others will get.
  int32_t leased_blocks = 0;
  // Whether one of its choices holds blocks.
  bool holds_blocks() const;
  bool ended = false;
  bool aged = false;  // started before more urgent requests, because of its age
  bool owed = false;  // its tenant asks for less than its share
  bool scores_sent = false;
  bool cut_short = false;  // a drain ended a choice of it
  request::StreamUsage usage;
  std::vector<request::TokenEvent> prompt_scores;  // until all of them are there
  absl::Time started;
  absl::Time first_token = absl::InfiniteFuture();
  absl::Time last_token = absl::InfinitePast();
  absl::Time paused_since = absl::InfiniteFuture();  // its stream is full since then
  absl::Time aside_since = absl::InfiniteFuture();   // more urgent requests have its places in the batch since then

  bool paused() const { return paused_since != absl::InfiniteFuture(); }
  bool set_aside() const { return aside_since != absl::InfiniteFuture(); }
  // It keeps its blocks, but takes no part in steps and no place in the batch.
  bool suspended() const { return paused() || set_aside(); }
  Urgency urgency() const { return UrgencyOf(request->priority, owed); }
  request::TokenStream& stream() const { return *request->stream; }
};

}  // namespace hadal::engine
