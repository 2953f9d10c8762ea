// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "models/model.h"
#include "server/admission/admission.h"
#include "server/engine/batch_plan.h"
#include "server/engine/chunk_cost.h"
#include "server/engine/engine_observer.h"
#include "server/engine/engine_options.h"
#include "server/engine/prefix_cache.h"
#include "server/engine/saved_time.h"
#include "server/engine/sequence.h"
#include "server/engine/step_cost.h"
#include "server/engine/step_token_budget.h"
#include "server/engine/window_cache.h"

namespace hadal::engine {

// If a full stream has not been read for this long, its request may lose its blocks to requests that have none.
inline constexpr absl::Duration kStalledReader = absl::Seconds(1);

// Decides what each step runs and applies its results. Pure bookkeeping: it never blocks, never calls the model and
// pushes nothing to a stream before Publish. Owned by the engine thread. A step goes through these phases, each in a
// file of its own:
//
//   Retire   (scheduler_retire.cc)  ends cancelled, stopped, expired and unread requests; returns their blocks
//   Plan     (scheduler_plan.cc)    decode rows first, then prefill chunks, within the step's token limit
//     start  (scheduler_start.cc)   preempted sequences, further choices and queued requests that have room
//     preempt(scheduler_preempt.cc) blocks for a decode row when none is free
//     aside  (scheduler_aside.cc)   batch requests leave their places to more urgent ones
//   Commit   (scheduler_commit.cc)  the step's tokens are appended, ended choices leave, full blocks enter the cache
//   Publish  (scheduler_publish.cc) tokens and ends go to the streams
//
// Plan may be called while the previous step is in flight: it assumes that every running sequence continues. Commit of
// that step then marks rows of the plan as dropped if their sequences have ended, and PatchInput removes them. If the
// plan was already launched (FeedInput), its own Commit ignores these rows.
class Scheduler {
 public:
  // Only the properties of `model` are used; it is never run.
  Scheduler(const EngineOptions& options, const models::Model& model, admission::AdmissionController* admission,
            int model_index);
  ~Scheduler();  // ends everything that still runs

  // `consumers_changed`: a stream was cancelled, a choice stopped, or a full stream read since the last call.
  void Retire(absl::Time now, bool consumers_changed);
  // `plan` ran and took `seconds`; `time` is the current fit of the step time.
  void RecordStep(const BatchPlan& plan, double seconds, const admission::StepTime& time) {
    token_budget_.Record(plan, seconds, time);
    step_cost_.Record(plan.tokens, seconds);
    step_time_ = time;
    if (plan.decode_others == 0 || plan.prompts_of_others) return;
    const auto context_tokens = static_cast<double>(plan.decode_context_tokens);
    chunk_cost_.Record(time.Seconds(plan.decode_entries, context_tokens, 0), plan.prefill_tokens, seconds);
  }
  // Of the last plan.
  int32_t token_limit() const { return token_limit_; }
  // `start_new` false: nothing leaves the queue (drain).
  BatchPlan Plan(absl::Time now, bool start_new);
  // Between Commit and Patch: if a request that is more urgent than a prompt of `next` has arrived since `next` was
  // planned, and a place is free, replans the prompts of `next`. Otherwise it would wait for another whole step.
  void MakeWay(absl::Time now, BatchPlan& next);
  // `next` is what was planned while `plan` ran.
  void Commit(const BatchPlan& plan, const models::StepOutput& output, absl::Time now, BatchPlan& next);
  void Publish();
  // Deletes the requests that Publish closed, once the step that was in flight when they ended has been committed.
  // `fed`: a step was launched before the last Commit, so requests closed since the last call may have rows in it and
  // are kept for one more call.
  void DeleteClosed(bool fed) {
    pending_deletion_.swap(kept_for_fed_step_);
    pending_deletion_.clear();
    if (!fed) kept_for_fed_step_.clear();
  }
  // The same where steps overlap (models::Model::overlapped_steps): so many steps have been launched, and so many of
  // them have been committed. What closes now may have rows in all others.
  void DeleteClosed(uint64_t launched, uint64_t committed);
  // The patch between Commit and Launch.
  void Patch(BatchPlan& plan) const { PatchInput(shape_, plan); }

  // Every request with rows in `plan` ends with that error; the others go on.
  void FailStep(const BatchPlan& plan, const absl::Status& status, BatchPlan& next);
  // Everything that runs ends with an error: `status` is called for each request.
  void EndAll(absl::FunctionRef<absl::Status()> status);
  // Everything that runs ends with what it has so far (drain time-out).
  void EndAllInsufficient();
  // The same for everything in the queue.
  void EndQueued(absl::FunctionRef<absl::Status()> status);

  bool HasRequests() const { return !requests_.empty(); }
  // Whether there is work that a step could advance, now or after the step in flight. Requests waiting for a slow
  // reader, or for blocks that one holds, do not count.
  bool Runnable() const;
  // The next timed event: a deadline, the time-out of a slow reader, the end of gathering.
  absl::Time NextTimer() const;

  struct Counts {
    int32_t requests = 0, running = 0, active = 0, waiting = 0, paused = 0, set_aside = 0;
    int32_t free_blocks = 0, leased_blocks = 0, cached_blocks = 0;
    int32_t free_window_blocks = 0, leased_window_blocks = 0, cached_window_blocks = 0;
  };
  Counts counts() const;
  // Whether the next Publish closes a stream.
  bool closing() const { return closing_ > 0; }
  // Publishes the running sequences to admission; takes a microsecond for 256 sequences.
  void PublishSequences(admission::EngineLoad& load) const;

 private:
  // Something to tell a stream, in order.
  struct Outgoing {
    enum class Kind : uint8_t { kStarted, kScores, kToken, kEnd, kClose };
    Kind kind;
    ActiveRequest* request;
    request::TokenEvent token;
    request::ChoiceEnd end;
    absl::Status status;
  };

  // --- retire ---
  void RetireQueued(absl::Time now, bool consumers_changed);
  void RetireRunning(absl::Time now, bool consumers_changed);
  void UpdatePaused(ActiveRequest& request, absl::Time now);
  void CloseQueued(admission::QueuedRequest queued, const absl::Status& status, absl::Time now);
  // Ends one choice; the request with it when it was the last.
  void EndSequence(Sequence& sequence, request::FinishReason reason, int32_t stop_token);
  void EndChoice(Sequence& sequence, request::FinishReason reason, int32_t stop_token);
  // Ends the request now, open choices with `reason`.
  void EndRequest(ActiveRequest& request, const absl::Status& status, request::FinishReason reason);
  void CloseRequest(ActiveRequest& request, const absl::Status& status);
  void ReleaseBlocks(Sequence& sequence);
  void RemoveEnded();
  Stage StageOf(const ActiveRequest& request) const;

  // --- plan ---
  void PlanDecode(BatchPlan& plan);
  void PlanDecodeRow(Sequence& sequence, BatchPlan& plan);
  // The sequences that decode next: those of a batch, or where steps overlap the part of them that waited longest.
  const std::vector<Sequence*>& DecodeCandidates();
  void PlanPrefill(BatchPlan& plan);
  void AddEntry(Sequence& sequence, int32_t count, BatchPlan& plan);
  // Takes the prompts out of a plan that has not been launched; false, and nothing is changed, when one must stay.
  bool WithdrawPrompts(BatchPlan& plan);
  // Prompt tokens that aged and late sequences can use of the share of a step that both have together.
  int32_t AgedTokens(const std::vector<Sequence*>& prefilling, request::Priority passed, int32_t token_limit) const;
  // How many tokens a prompt that started in its turn is late beside ones as urgent as `passed`. Its tokens fall due
  // evenly over one class_step, from the age at which it would go first in the queue, or from its start if that was
  // later. Not sooner, as every token that a gap computes instead costs the more urgent ones nothing. 0 for class
  // batch, which has no bound to meet.
  int32_t LateTokens(const Sequence& sequence, request::Priority passed) const;
  // How many of `count` prompt tokens the window pool has room for now.
  int32_t WindowRoom(Sequence& sequence, int32_t count);
  bool Schedulable(const Sequence& sequence) const;
  // --- start ---
  void StartSequences(absl::Time now, bool start_new, BatchPlan& plan);
  bool Gathering(absl::Time now);
  // False if there is no room now.
  bool StartWaiting(Sequence& sequence);
  // `aged`: it goes before more urgent ones.
  bool StartFromQueue(request::Priority priority, bool aged, absl::Time now);
  void StartRequest(admission::QueuedRequest queued, bool aged, absl::Time now);
  absl::Status CheckRequest(const request::Request& request) const;
  // Whether its first token would come after its caller's limit if it were started now.
  bool CannotBeInTime(const request::Request& request) const;
  // The first waiting sequence that may run once there is room, or null.
  Sequence* NextWaiting() const;
  // Whether a sequence of `length` tokens, beginning with `tokens`, finds blocks for `reserve_tokens`: returns how many
  // of them are in the prefix cache, or nullopt if there is no room.
  std::optional<int32_t> FindRoom(absl::Span<const int32_t> tokens, int32_t length, int32_t reserve_tokens,
                                  uint64_t salt, bool use_cache) const;
  // Whether the lease of a request that has found room, and holds no blocks yet, covers what it will hold.
  bool StartLease(admission::Ticket& ticket, std::optional<int32_t> cached_blocks) const;
  // Keeps what a request leases for others leased while it holds no blocks.
  void SuspendLease(ActiveRequest& request) const;
  // After a sequence has taken a block: if blocks are scarce, leases more once it has outgrown its prediction.
  void ExtendLease(Sequence& sequence) const;
  // Every running sequence has its window blocks.
  bool CanReserveWindow() const;
  void Run(Sequence& sequence, absl::Time now);
  int32_t ReserveTokens(const Sequence& sequence) const;
  int32_t ActiveSequences() const;
  // Of the sequences of a batch or the tokens of a step, those that admission::AgedShare gives; at least one.
  static int32_t AgedPart(request::Priority passed, int32_t whole) {
    return std::max(1, static_cast<int32_t>(whole * admission::AgedShare(passed)));
  }
  // Whether something more urgent has started in the last 10 s, so that more is to be expected.
  bool MoreUrgentLately(Urgency urgency) const;
  // Sequences of a batch that are reserved for more urgent requests while such arrive, so that they start at once
  // instead of waiting for another sequence to end.
  int32_t KeptPlaces(Urgency urgency) const;
  // The size of a step in tokens, `decode_tokens` included, up to which prompts of that urgency may fill it. Less than
  // `token_limit` while more urgent requests arrive, because these wait for the running step and then for their own.
  int32_t StepTokens(Urgency urgency, int32_t decode_tokens, int32_t token_limit) const;
  // --- preempt ---
  // Gets a block for `needy`, by preempting others if necessary; false if `needy` itself was preempted.
  bool EnsureBlock(Sequence& needy, BatchPlan& plan);
  Sequence* ChooseVictim() const;
  void Preempt(Sequence& victim, BatchPlan& plan);
  // Preempts a request whose reader has stalled or that is set aside, so that another can start; false if there is
  // none.
  bool PreemptSuspended(BatchPlan& plan);
  // --- share ---
  // How many sequences of class batch may run beside those of other classes, so that they add little to the time of a
  // step; everything if no others run, and at least one.
  int32_t BatchRows() const;
  // Whether these decode rows of class batch go into the plan, which holds those of others. They rest while they would
  // make a step longer than time was saved for, unless others wait for their blocks.
  bool BatchDecodes(const BatchPlan& plan, absl::Span<Sequence* const> rows);
  // Prompt tokens of class batch that may follow what `plan` holds already; everything if no others run.
  int32_t BatchTokens(const BatchPlan& plan);
  // --- aside ---
  // Sets requests aside until no more than BatchRows are left, or one request. Before anything is planned.
  void LimitBatch(BatchPlan& plan);
  // Whether its place goes to a more urgent request that wants one: it belongs to a batch and has not aged.
  bool Yields(const ActiveRequest& request) const;
  int32_t YieldingSequences() const;
  // The one that started last of the requests that yield, or null.
  ActiveRequest* LastYielding() const;
  // Sets requests aside, the one that started last first, until at most `most` of the `active` sequences are left or
  // none yields; returns how many are. They keep their blocks and go on from there.
  int32_t SetAsideUntil(int32_t most, int32_t active, BatchPlan& plan);
  // Returns how many sequences have left the batch.
  int32_t SetAside(ActiveRequest& request, BatchPlan& plan);
  // The one that started first of the requests that are set aside and could go on, or null.
  ActiveRequest* NextAside() const;
  // The most urgent class that waits for a place, in the queue or preempted; kBatch also if nothing does.
  request::Priority MostUrgentWaiting(bool start_new) const;
  // The turn of the next one if it has been set aside for so long that it goes before more urgent requests, as in the
  // queue (admission::QueueOrder).
  std::optional<admission::QueueTurn> AgedAside(bool start_new) const;
  // That one goes on if there are places, and is not set aside again.
  void ResumeAged(int32_t& active, BatchPlan& plan);
  // Lets them go on while there are places and nothing more urgent waits. `of_batch`: of the `active`, those of class
  // batch.
  void ResumeAside(bool start_new, int32_t active, int32_t of_batch, BatchPlan& plan);
  // Returns how many sequences are back in the batch.
  int32_t Resume(ActiveRequest& request, BatchPlan& plan);
  // --- commit ---
  void CommitEntry(const PlanEntry& entry, const models::StepOutput& output);
  void FailRow(Sequence& sequence);
  void CommitScores(const PlanEntry& entry, const models::StepOutput& output);
  void CommitToken(Sequence& sequence, const models::SampleResult& result);
  void CacheFullBlocks(Sequence& sequence);
  static void DropEnded(BatchPlan& plan);
  // --- publish ---
  void PublishOne(Outgoing& out);
  void PublishClose(ActiveRequest& request, const absl::Status& status);

  struct WaitingOrder {
    bool operator()(const Sequence* a, const Sequence* b) const;
  };

  int32_t BlocksFor(int32_t tokens) const { return (tokens + options_.block_tokens - 1) / options_.block_tokens; }

  const EngineOptions& options_;
  const models::ModelInfo& info_;
  admission::AdmissionController* const admission_;
  const int model_index_;
  EngineObserver* const observer_;  // never null

  const BlockShape shape_;
  const int overlapped_steps_;
  WindowCache windows_;
  PrefixCache cache_;
  // Prompt blocks are leased once for all requests that share them. Not with windows: these can shorten a hit, and then
  // cached blocks have to be recomputed.
  const bool shares_leases_;
  std::vector<std::unique_ptr<ActiveRequest>> requests_;
  std::vector<Sequence*> running_;     // by start; ended ones are removed by RemoveEnded
  std::vector<Sequence*> candidates_;  // DecodeCandidates; reused
  std::set<Sequence*, WaitingOrder> waiting_;
  std::vector<Outgoing> outbox_;
  // Closed; deleted when no plan refers to them any more.
  std::vector<std::unique_ptr<ActiveRequest>> pending_deletion_, kept_for_fed_step_;
  struct ClosedRequest {
    uint64_t last_step;
    std::unique_ptr<ActiveRequest> request;
  };
  std::deque<ClosedRequest> kept_for_steps_;  // where steps overlap; by last_step
  StepTokenBudget token_budget_{options_};
  int32_t token_limit_ = options_.max_batch_tokens;
  size_t started_from_ = 0;           // index in running_ of the first sequence that started or goes on in this plan
  bool ended_since_removal_ = false;  // running_ holds sequences that do not run
  bool no_room_ = false;              // the last plan could not start what is next for lack of blocks
  uint64_t next_order_ = 1;
  absl::Time now_;                                     // of the phase that runs
  absl::Time next_deadline_ = absl::InfiniteFuture();  // of running requests, or earlier
  absl::Time gather_until_ = absl::InfinitePast();
  std::array<absl::Time, kUrgencies> last_start_;  // from the queue
  StepCost step_cost_;
  admission::StepTime step_time_;
  int32_t batch_rows_ = options_.max_batch_size;  // BatchRows of this plan
  ChunkCost chunk_cost_;                          // of class batch beside decode rows of others
  SavedTime rows_time_, chunks_time_;             // what class batch may add to steps of others
  uint64_t plans_ = 0;
  int32_t paused_requests_ = 0;
  int32_t aside_requests_ = 0;
  int32_t closing_ = 0;  // ended requests whose streams have not been closed yet
};

}  // namespace hadal::engine
