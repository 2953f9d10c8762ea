// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "server/admission/admission_load.h"
#include "server/admission/admission_log.h"
#include "server/admission/admission_options.h"
#include "server/admission/caller_limits.h"
#include "server/admission/engine_load.h"
#include "server/admission/memory_ledger.h"
#include "server/admission/prefix_leases.h"
#include "server/admission/priority_queue.h"
#include "server/admission/quantile_controller.h"
#include "server/admission/retry_after.h"
#include "server/admission/retry_planner.h"
#include "server/admission/return_ticket.h"
#include "server/admission/slot_table.h"
#include "server/admission/wait_forecast.h"
#include "server/base/clock.h"
#include "server/base/metrics.h"
#include "server/request/refusal.h"
#include "server/request/request.h"
#include "server/request/wake_signal.h"

namespace hadal::admission {

// What a front end knows about a request before its body is parsed.
struct AdmissionRequest {
  request::Priority priority = request::Priority::kNormal;
  std::string tenant;  // shares the class's slots with other tenants: the key's, else the sender's network
  std::string request_id;
  int64_t body_bytes = 0;  // Content-Length, or gRPC message length; prompt tokens are estimated from it
  RetryCaller retry;       // identifies the client when it returns
  CallerLimits limits;     // deadlines and time-outs of the caller
};

class AdmissionController;
class AdmissionMetrics;

// A queue slot, and after Finalize also a memory lease. Move-only RAII: on every path of the request, the destructor
// returns the slot, the queued tokens and the leased bytes. Used by one thread at a time; the controller must outlive
// it.
class Ticket {
 public:
  Ticket() = default;  // empty: holds nothing
  Ticket(Ticket&& other) noexcept { *this = std::move(other); }
  Ticket& operator=(Ticket&& other) noexcept;
  ~Ticket() { Release(); }

  bool holds_slot() const { return slot_ != nullptr; }
  // The slot was reassigned to a class or tenant entitled to it: the request must stop, unless it already runs.
  // Thread-safe.
  bool evicted() const { return slot_ != nullptr && slot_->evicted.load(std::memory_order_acquire); }
  bool finalized() const { return finalized_; }
  int64_t leased_bytes() const { return lease_.bytes(); }
  // The same in KV blocks of the request's model.
  int64_t leased_blocks() const;
  // Output tokens per choice that the lease covers.
  int32_t predicted_output() const { return predicted_output_; }

  // Replaces the estimated size by the true one and leases memory for it. Called once, after tokenizing. On an error
  // the ticket keeps its slot until it is destroyed.
  //   CONTEXT_LENGTH_EXCEEDED  prompt + max_tokens is over the model's context
  //   REQUEST_NEVER_FITS       more than the whole KV pool of the model
  //   GPU_MEMORY_EXHAUSTED     the predicted lease does not fit now; carries a retry hint
  //   PREEMPTED_IN_QUEUE       the slot was reassigned (see evicted()); carries a retry hint
  absl::Status Finalize(const request::Request& request, int model_index);
  // OK, or PREEMPTED_IN_QUEUE: lets the holder of an evicted ticket stop before it prepares the request for Finalize.
  absl::Status CheckSlot(request::Priority priority, std::string_view request_id) const;

  // The request is about to take blocks for its prompt, the first `cached_blocks` of which are in the prefix cache:
  // returns the bytes of blocks that others have leased meanwhile and takes those of shared blocks that were lost.
  // False if there is no memory for that now because another request computes these blocks; then nothing was changed.
  bool StartPrefix(int32_t cached_blocks);
  // The request's own block at `index` of the prompt is now in the prefix cache, where others can share it.
  void PublishPrefix(int32_t index);
  // The request was preempted and holds no blocks until it starts again.
  void SuspendPrefix();
  // Fits the lease to an answer with `produced` tokens that has just taken a block. Where the answers of its kind are
  // leased together (MemoryForesight), it becomes this one's share, or what the pool has of it, and 0 is returned.
  // Else leases blocks for the `overrun` tokens that exceed the lease and for those still expected, and returns the
  // tokens of these blocks: 0 without overrun, or if the pool does not have them.
  int32_t ExtendLease(const request::Request& request, int32_t produced, int32_t overrun);

  // The request starts to run: returns the slot and the queued tokens, keeps the lease.
  void ReleaseSlot();
  // The request has ended: charges its tenant for the tokens that were computed, prompt (without prefix hits) and
  // output, instead of the prediction made when it left the queue. Call before Release.
  void RecordServed(request::Priority priority, int64_t prompt_tokens, int64_t output_tokens);
  // Returns everything now.
  void Release();

 private:
  friend class AdmissionController;
  AdmissionController* controller_ = nullptr;
  std::unique_ptr<Slot> slot_;  // counts in the controller's table until it is returned or evicted
  bool finalized_ = false;
  int32_t model_index_ = -1;
  absl::Time admitted_;
  int64_t body_bytes_ = 0;
  int64_t prompt_tokens_ = 0;     // from Finalize on
  int32_t predicted_output_ = 0;  // tokens of a choice; from Finalize on
  double charged_ = 0;            // weighted tokens charged to the tenant when the request leaves the queue
  std::string tenant_;
  RetryCaller retry_;
  ReturnTiming returned_ = ReturnTiming::kNone;  // kInWindow: it took what was promised to it
  MemoryLease lease_;
  std::unique_ptr<PrefixHold> prefix_;  // what it shares; from Finalize on, null when it shares nothing
};

// An entry of a model's queue.
struct QueuedRequest {
  std::unique_ptr<request::Request> request;
  Ticket ticket;
  absl::Time enqueued;
  absl::Time start_by;   // after this time it is removed from the queue
  absl::Status refusal;  // set if admission removes it: PREEMPTED_IN_QUEUE, WAIT_LIMIT
  bool owed = false;     // QueueTurn::owed, when it was popped
};

// What admission needs to know about a served model.
struct ModelLimits {
  std::string name;
  int32_t max_model_len = 0;  // tokens, prompt plus output
  int32_t block_tokens = 0;   // tokens in a KV block; leases are whole blocks
  int64_t block_bytes = 0;    // bytes of a KV block
  KvPoolLedger* pool = nullptr;
};

// The single authority over which requests may enter: counts queue slots, queued tokens and leased memory over all
// classes and models, and owns the queues. A request is "waiting" from its admission until it runs, including the time
// in which it is parsed. Every decision is O(1) under one mutex that is held briefly, and checking and counting are one
// step. When all slots are taken, a newcomer may be entitled to one (SlotTable). A waiting request then loses its slot
// and ends with PREEMPTED_IN_QUEUE: through its stream if it is queued, from Finalize or Enqueue if it is still being
// parsed. Thread-safe.
class AdmissionController {
 public:
  using Options = AdmissionOptions;

  // InvalidArgument names the option that is out of range.
  static absl::StatusOr<std::unique_ptr<AdmissionController>> Create(Options options);
  ~AdmissionController();

  // --- start-up ---
  // Returns the model's index. Before the first TryAdmit that can be admitted (SetReady).
  absl::StatusOr<int> AddModel(const ModelLimits& limits);
  // Everything is refused with MODEL_LOADING until this is called. `remaining` is the loader's estimate, for the hint.
  void SetLoading(absl::Duration remaining);
  void SetReady();
  // From now on all new requests are refused with DRAINING. Cannot be undone.
  void BeginDrain();
  // From now on all new requests are refused with DEVICE_FAULT.
  void SetDeviceFault(std::string_view message);

  // --- front ends ---
  // Reserves a slot before anything is parsed. UNAVAILABLE with reason and retry hint (request::GetErrorDetail):
  // DRAINING, MODEL_LOADING, DEVICE_FAULT, DEADLINE_INFEASIBLE, WAIT_LIMIT, CONNECTION_QUEUE_FULL, QUEUE_TOKENS_FULL,
  // GPU_MEMORY_EXHAUSTED. INVALID_ARGUMENT with REQUEST_NEVER_FITS for a deadline that an idle server could not meet.
  absl::StatusOr<Ticket> TryAdmit(const AdmissionRequest& request);
  // The promise that a returning client's ticket stands for, for RetryCaller::promise; counted. 0 if it is no longer
  // valid, or belongs to another `owner` (RetryCaller::owner).
  uint64_t OpenTicket(std::string_view ticket, uint64_t owner = 0);
  // Cancels the promise made with this refusal, because the client is answered in another way. Does nothing for other
  // statuses.
  void Withdraw(const absl::Status& refusal);
  // Whether TryAdmit would succeed now, for a caller whose body has not arrived. Takes nothing; a refusal is counted
  // and logged as TryAdmit's.
  absl::Status CheckRoom(const AdmissionRequest& request);
  // The refusal of everybody while the model loads, in a drain and after a device fault, else OK: it comes before the
  // caller's own limits. Counted and logged as TryAdmit's.
  absl::Status CheckState(const AdmissionRequest& request);
  // What ends a request that was admitted before a drain (DRAINING) or a device fault (DEVICE_FAULT) began, and has not
  // been answered. Those that end together are told different times.
  absl::Status EndedBy(request::Reason reason);
  // Queues a request with a finalized ticket. Consumes both if and only if it returns OK; fails with DRAINING or
  // DEVICE_FAULT when that began meanwhile, with PREEMPTED_IN_QUEUE when the slot is gone, and with Internal for an
  // empty or unfinalized ticket. After OK the outcome arrives in request->stream.
  absl::Status Enqueue(int model_index, std::unique_ptr<request::Request>&& request, Ticket&& ticket);

  // --- engine side ---
  // Raised with kEnqueued by Enqueue and handed to each queued stream; set once before the first Enqueue.
  void SetWakeSignal(int model_index, std::shared_ptr<request::WakeSignal> wake);
  // The class that goes next, or nullopt if nothing waits. `by_age` false: strictly by class.
  std::optional<QueueTurn> NextTurn(int model_index, bool by_age = true) const;
  // Removes and returns the next request of that class, or nullopt if there is none. `may_start` inspects it and says
  // whether there is room now; if it returns false, the request stays in the queue.
  using MayStart = std::function<bool(const request::Request&, Ticket&)>;
  std::optional<QueuedRequest> Pop(int model_index, request::Priority priority, const MayStart& may_start);
  // Whether the first token would come too late for the caller if the request left the queue now, with that many prompt
  // tokens to compute. Lock-free, for `may_start`.
  bool CannotBeInTime(int model_index, const request::Request& request, int64_t new_tokens) const;
  // For such a request, once it has been popped: DEADLINE_INFEASIBLE, counted and logged.
  absl::Status RefuseLate(const QueuedRequest& queued);
  // Removes and returns requests that are cancelled, evicted, past their deadline at `now`, or not started in time for
  // their caller (each with its refusal). Cheap when no deadline was reached and `look_for_cancelled` is false. An
  // eviction raises kConsumer.
  std::vector<QueuedRequest> RemoveExpired(int model_index, absl::Time now, bool look_for_cancelled);
  // Removes and returns everything (drain, device fault).
  std::vector<QueuedRequest> DrainQueue(int model_index);
  // Earliest deadline in the queue, InfiniteFuture when there is none.
  absl::Time NextDeadline(int model_index) const;
  // Requests in this model's queue, not counting those still being parsed. Lock-free.
  int64_t QueuedRequests(int model_index) const;
  // Feed the output-length histograms, on the engine's thread, without locks. A choice that has more tokens than the
  // last call returned is recorded again; `recorded` is what that was, 0 at first.
  int32_t RecordOutputProgress(int model_index, const request::Request& request, int32_t recorded,
                               int32_t output_tokens);
  // Once for each finished choice. What is cancelled counts by its progress alone.
  void RecordOutputLength(int model_index, const request::Request& request, int32_t output_tokens,
                          int32_t recorded = 0);
  // After each step, on the engine's thread: adjusts the quantile of the output lengths that new leases reserve.
  void RecordLeaseFit(int model_index, const LeaseFit& fit);
  // The current quantile. Lock-free.
  double output_quantile(int model_index) const;
  // The KV blocks that may hold anything: fewer than the pool has while the memory budget is reduced. Lock-free.
  int32_t BlockLimit(int model_index) const;
  // Where the model's engine publishes what it runs after each step, before it calls EngineStepped.
  EngineLoad& engine_load(int model_index);
  // Renews the forecast once it is 0.1 s old: on the thread registered with SetForecastWake, else on the calling one.
  void EngineStepped(int model_index);

  // --- prediction ---
  // Renews the forecast of every model; below a millisecond for each. Any thread.
  void UpdateForecast(absl::Time now);
  // Notified with kControl when a forecast is due; once, before the engines start. Without it EngineStepped renews the
  // forecast itself.
  void SetForecastWake(std::shared_ptr<request::WakeSignal> wake) { forecast_wake_ = std::move(wake); }
  // When a request of that class and size would run if it were admitted now; with several models, the earliest.
  // Lock-free, about a microsecond, any thread.
  WaitPrediction PredictWait(request::Priority priority, int64_t prompt_tokens, const WaitForecast::Line& line) const;
  WaitPrediction PredictWait(request::Priority priority, int64_t prompt_tokens) const {
    return PredictWait(priority, prompt_tokens, {});
  }

  // --- load, for metrics and GetLoad ---
  using Load = AdmissionLoad;
  Load GetLoad() const;
  bool draining() const { return state_.load(std::memory_order_acquire) == State::kDraining; }
  const Options& options() const { return options_; }

 private:
  friend class Ticket;
  enum class State : int { kLoading, kReady, kDraining, kDeviceFault };
  struct ModelState;
  // The request that a refusal is about.
  struct Subject {
    request::Priority priority;
    std::string_view request_id;
    int64_t prompt_tokens;
    RetryCaller retry;
    ReturnTiming returned = ReturnTiming::kNone;
    absl::Duration wait_limit = absl::InfiniteDuration();  // which the predicted wait exceeds; else infinite
    std::string_view trace_id = {};                        // of a request that was queued
  };

  explicit AdmissionController(Options options);

  // TryAdmit; without `take` the ticket of a success is empty, and only a refusal is counted.
  absl::StatusOr<Ticket> Decide(const AdmissionRequest& request, bool take);
  // The result of checking a caller's limits, and its basis.
  struct LimitCheck {
    LimitVerdict verdict;
    WaitPrediction prediction;
    absl::Duration idle;  // minimum time to first token on an idle server
  };
  // What was found, and taken, in one critical section.
  struct Finding {
    request::Reason reason = request::Reason::kNone;  // why the request is refused
    SlotTable::Taken taken;
    int64_t taken_before = 0;               // of the slots or tokens, for a refusal that is due to them
    std::optional<LimitCheck> over_limits;  // of the caller
    absl::Duration predicted_wait;          // above the limit of the class; zero: it is not
  };
  Finding Find(const AdmissionRequest& request, const RetryPlanner::Arrival& arrival, int64_t prompt_tokens,
               State state, bool take, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Slots that the request must leave to others.
  int64_t KeptFreeSlots(const AdmissionRequest& request, const RetryPlanner::Arrival& arrival) const;
  // The forecasts no longer count the requests that have lost their slots.
  void ForgetEvicted(const SlotTable::Taken& taken) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WakeEvicted(const SlotTable::Taken& taken);
  absl::Status RefuseFor(const Finding& finding, const AdmissionRequest& request, Subject subject);
  // Whom the engine's thread refuses, which works on no request of its own.
  static Subject SubjectOf(const QueuedRequest& queued);
  absl::Status RefuseByState(State state, const Subject& subject);
  // When to return to another replica (DRAINING), or to this one once it has started again (DEVICE_FAULT).
  RetryPlan PlanAfter(request::Reason reason);
  // For a request that has lost its slot.
  absl::Status RefuseEvicted(const Subject& subject);
  // `expected_blocks`: blocks that the request will lease, if `required_bytes` covers only a part of them. `kept_free`:
  // bytes that are free, but not for this request.
  absl::Status RefuseForMemory(int model_index, const Subject& subject, int64_t required_bytes,
                               int64_t expected_blocks = 0, int64_t kept_free = 0);
  // When to return for `blocks` of the model's; model_index -1: for a slot, whatever the model.
  RetryPlan PlanReturn(const Subject& subject, int model_index, int64_t blocks);
  // Logs and counts the refusal and builds its status.
  absl::Status Refuse(request::Reason reason, const Subject& subject, std::string_view detail,
                      std::string_view log_line, const RetryPlan& plan, LogFields fields = {},
                      std::string_view component = "admission");
  // The requests that go before one that is admitted now.
  WaitForecast::Line LineBefore(const AdmissionRequest& request, const RetryPlanner::Arrival& arrival,
                                absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The predicted wait in the queue behind that line, where it is above the limit of the class, else zero.
  absl::Duration WaitOverLimit(const AdmissionRequest& request, int64_t prompt_tokens, const WaitForecast::Line& line,
                               const RetryPlanner::Arrival& arrival) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  LimitCheck CheckLimits(const AdmissionRequest& request, int64_t prompt_tokens, const WaitForecast::Line& line,
                         absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Nothing waits or runs.
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RefuseForLimits(const CallerLimits& limits, const Subject& subject, const LimitCheck& check);
  // For a request that had to start at once (may_wait false) and did not.
  absl::Status RefuseUnstarted(const QueuedRequest& queued);
  // `kept_free_blocks` are reserved for promises to others.
  absl::Status CheckMemoryEarly(const Subject& subject, double kept_free_blocks, bool take);
  // Whether a request is admitted although memory is short, because its prompt may be leased already: a hundred per
  // second, so that shared prompts are recognised while memory is short. `take`: it counts as one of them.
  bool MayBeSharer(ModelState& model, bool take) const;
  ForecastTable Foresee(ModelState& model, absl::Time now);
  // For a scrape.
  void ExportLevels();
  double OfferedLoad(absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Bytes that a request of that class and size leaves free for other classes.
  int64_t LeftToOthers(const ModelState& model, request::Priority priority, int64_t bytes, absl::Time now) const;
  absl::Status FinalizeTicket(Ticket& ticket, const request::Request& request, int model_index);
  // The predicted output tokens of one choice.
  int32_t PredictOutput(ModelState& model, const request::Request& request);
  // Blocks of a running request with `output` tokens per choice; may exceed the pool.
  static int64_t LeaseBlocks(const ModelState& model, const request::Request& request, int32_t output);
  // Ticket::ExtendLease.
  int32_t Extend(Ticket& ticket, const request::Request& request, int32_t produced, int32_t overrun);
  // Counts the request in that model's forecast until its slot is returned.
  void CountWaiting(Slot& slot, int model_index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Replaces what was estimated at the door, or was unknown before the body was parsed, by the true values.
  void Settle(Ticket& ticket, request::Priority priority, int64_t prompt_tokens, int model_index);
  void ReturnSlot(Ticket& ticket, bool started);
  void ReturnLease(Ticket& ticket);
  void ChargeServed(Ticket& ticket, request::Priority priority, int64_t prompt_tokens, int64_t output_tokens);

  const Options options_;
  AdmissionLog log_;
  // Not in this header, which a hundred files include: a metric that is added concerns few of them.
  const std::unique_ptr<AdmissionMetrics> metrics_;
  RetryPlanner planner_;
  const ReturnTickets tickets_;
  std::atomic<State> state_{State::kLoading};

  std::shared_ptr<request::WakeSignal> forecast_wake_;
  base::Mutex forecast_mutex_;  // one forecast at a time; acquired before all others
  SeenRoom room_ ABSL_GUARDED_BY(forecast_mutex_);

  mutable base::Mutex mutex_;
  SlotTable slots_ ABSL_GUARDED_BY(mutex_);
  double tokens_per_byte_ ABSL_GUARDED_BY(mutex_);
  RateEstimator departures_ ABSL_GUARDED_BY(mutex_);
  ByClass<RateEstimator> arrivals_ ABSL_GUARDED_BY(mutex_);
  RateEstimator offered_prompts_ ABSL_GUARDED_BY(mutex_);  // tokens of the prompts of those arrivals
  // Of those arrivals, admitted ones that overtake waiting requests because their tenant has fewer in the queue; each
  // counts as the share of the line that it overtakes.
  ByClass<RateEstimator> overtakers_ ABSL_GUARDED_BY(mutex_);
  // Since when callers' limits refuse requests although nothing runs; reset when a request starts.
  absl::Time idle_refusals_since_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  std::atomic<bool> probing_{false};  // a request was admitted despite its limits, to get a new measurement
  const absl::Time created_;
  std::atomic<uint64_t> sent_away_ = 0;                                     // by a drain
  absl::Time loaded_at_ ABSL_GUARDED_BY(mutex_);                            // expected
  absl::Duration start_up_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();  // from created_ to the first SetReady
  std::string fault_message_ ABSL_GUARDED_BY(mutex_);

  std::vector<std::unique_ptr<ModelState>> models_;  // grows before SetReady only, under mutex_
  base::MetricCollector levels_;                     // reads the members above
};

}  // namespace hadal::admission
