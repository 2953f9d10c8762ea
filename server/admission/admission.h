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
#include "server/admission/admission_metrics.h"
#include "server/admission/admission_options.h"
#include "server/admission/caller_limits.h"
#include "server/admission/engine_load.h"
#include "server/admission/length_histogram.h"
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

// What a front end knows when headers and body size are known and nothing has been parsed yet.
struct AdmissionRequest {
  request::Priority priority = request::Priority::kNormal;
  std::string tenant;  // with whom it shares the class's slots: of the key, else the sender's network
  std::string request_id;
  int64_t body_bytes = 0;  // Content-Length, or gRPC message length; prompt tokens are estimated from it
  RetryCaller retry;       // by what it is recognised when it returns
  CallerLimits limits;     // that its caller gives
};

class AdmissionController;

// A queue slot, and after Finalize a memory lease. Move-only RAII: whatever happens to the request, its
// destructor returns the slot, the queued tokens and the leased bytes. Used by one thread at a time; the
// controller must outlive it.
class Ticket {
 public:
  Ticket() = default;  // empty: holds nothing
  Ticket(Ticket&& other) noexcept { *this = std::move(other); }
  Ticket& operator=(Ticket&& other) noexcept;
  ~Ticket() { Release(); }

  bool holds_slot() const { return slot_ != nullptr; }
  // Its slot was given to a class or tenant that was owed it: the request is not to go on, unless it runs already.
  // Thread-safe.
  bool evicted() const { return slot_ != nullptr && slot_->evicted.load(std::memory_order_acquire); }
  bool finalized() const { return finalized_; }
  int64_t leased_bytes() const { return lease_.bytes(); }
  // The same in KV blocks of its model.
  int64_t leased_blocks() const;
  // Output tokens of a choice that the lease was made for.
  int32_t predicted_output() const { return predicted_output_; }

  // Replaces the estimate by the true size and leases memory for it. Called once, after tokenizing. On an error the
  // ticket keeps its slot until it is destroyed.
  //   CONTEXT_LENGTH_EXCEEDED  prompt + max_tokens is over the model's context
  //   REQUEST_NEVER_FITS       more than the whole KV pool of the model
  //   GPU_MEMORY_EXHAUSTED     the predicted lease does not fit now; carries a retry hint
  //   PREEMPTED_IN_QUEUE       the slot went to a class or tenant that was owed it; carries a retry hint
  absl::Status Finalize(const request::Request& request, int model_index);
  // OK, or PREEMPTED_IN_QUEUE: lets the holder of an evicted ticket stop before the work that Finalize needs.
  absl::Status CheckSlot(request::Priority priority, std::string_view request_id) const;

  // The request takes blocks for its prompt, of which the prefix cache has the first `cached_blocks`: gives back what
  // others have leased meanwhile, and takes what was lost. False when there is no memory for that now, because another
  // request computes these blocks; then nothing was changed.
  bool StartPrefix(int32_t cached_blocks);
  // Its own block at `index` of the prompt is in the prefix cache now, for others to share.
  void PublishPrefix(int32_t index);
  // The request holds no blocks until it starts again.
  void SuspendPrefix();
  // An answer with `produced` tokens has outgrown the lease: leases blocks for the `overrun` tokens that it holds
  // beyond it and for those that it will probably still have. The tokens of these blocks, or 0 when the pool does not
  // have them.
  int32_t ExtendLease(const request::Request& request, int32_t produced, int32_t overrun);

  // The request starts to run: returns slot and queued tokens, keeps the lease.
  void ReleaseSlot();
  // The request has ended: its tenant is charged for the tokens that were computed, prompt (without prefix hits) and
  // output, instead of what was predicted when it left the queue. Before Release.
  void RecordServed(request::Priority priority, int64_t prompt_tokens, int64_t output_tokens);
  // Returns everything now.
  void Release();

 private:
  friend class AdmissionController;
  AdmissionController* controller_ = nullptr;
  std::unique_ptr<Slot> slot_;  // counts in the controller's table until it is returned or evicted
  bool finalized_ = false;
  int32_t model_index_ = -1;
  int64_t body_bytes_ = 0;
  int64_t prompt_tokens_ = 0;     // from Finalize on
  int32_t predicted_output_ = 0;  // tokens of a choice; from Finalize on
  double charged_ = 0;            // weighted tokens that its tenant is charged for it once it leaves the queue
  std::string tenant_;
  RetryCaller retry_;
  ReturnTiming returned_ = ReturnTiming::kNone;  // kInWindow: it took what was promised to it
  MemoryLease lease_;
  std::unique_ptr<PrefixHold> prefix_;  // what it shares; from Finalize on, null when it shares nothing
};

// What waits in a model's queue.
struct QueuedRequest {
  std::unique_ptr<request::Request> request;
  Ticket ticket;
  absl::Time enqueued;
  absl::Time start_by;   // later it is taken out of the queue
  absl::Status refusal;  // why it is, when admission decided it: PREEMPTED_IN_QUEUE, WAIT_LIMIT
  bool owed = false;     // QueueTurn::owed, when it was popped
};

// What admission must know about a served model.
struct ModelLimits {
  std::string name;
  int32_t max_model_len = 0;  // tokens, prompt plus output
  int32_t block_tokens = 0;   // tokens in a KV block; leases are whole blocks
  int64_t block_bytes = 0;    // bytes of a KV block
  KvPoolLedger* pool = nullptr;
};

// The only authority over who may enter: counts queue slots, queued tokens and leased memory over all classes and
// models, and owns the queues. "Waiting" are the requests that were admitted and do not run yet, including those still
// being parsed. Every decision is O(1) under one short mutex; checking and counting are one step. When the slots are
// taken a newcomer may be owed one (SlotTable): then a request that waits loses its own and ends with
// PREEMPTED_IN_QUEUE, through its stream when it is queued, from Finalize or Enqueue while it is parsed. Thread-safe.
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
  // From now on everything new is refused with DRAINING. There is no way back.
  void BeginDrain();
  // From now on everything new is refused with DEVICE_FAULT.
  void SetDeviceFault(std::string_view message);

  // --- front ends ---
  // Reserves a slot before anything is parsed. UNAVAILABLE with reason and retry hint (request::GetErrorDetail):
  // DRAINING, MODEL_LOADING, DEVICE_FAULT, DEADLINE_INFEASIBLE, WAIT_LIMIT, CONNECTION_QUEUE_FULL, QUEUE_TOKENS_FULL,
  // GPU_MEMORY_EXHAUSTED. INVALID_ARGUMENT with REQUEST_NEVER_FITS for a deadline that an idle server could not meet.
  absl::StatusOr<Ticket> TryAdmit(const AdmissionRequest& request);
  // What a returning client's ticket says, for RetryCaller::promise; counted. 0: nothing that can still be kept.
  uint64_t OpenTicket(std::string_view ticket);
  // Gives back what this refusal has promised: its client gets an answer all the same. Nothing for other statuses.
  void Withdraw(const absl::Status& refusal);
  // Whether TryAdmit would succeed now, for a caller whose body has not arrived. Takes nothing; a refusal is counted
  // and logged as TryAdmit's.
  absl::Status CheckRoom(const AdmissionRequest& request);
  // Queues a request with a finalized ticket. Consumes both if and only if it returns OK; fails with DRAINING or
  // DEVICE_FAULT when that began meanwhile, with PREEMPTED_IN_QUEUE when the slot is gone, and with Internal for an
  // empty or unfinalized ticket. After OK the outcome arrives in request->stream.
  absl::Status Enqueue(int model_index, std::unique_ptr<request::Request>&& request, Ticket&& ticket);

  // --- engine side ---
  // Raised with kEnqueued by Enqueue and handed to each queued stream; set once before the first Enqueue.
  void SetWakeSignal(int model_index, std::shared_ptr<request::WakeSignal> wake);
  // Whose turn it is, or nullopt when nothing waits. `by_age` false: strictly by class.
  std::optional<QueueTurn> NextTurn(int model_index, bool by_age = true) const;
  // The next of that class, or nullopt when there is none. `may_start` sees it and says whether there is room now; a
  // false leaves it where it is.
  using MayStart = std::function<bool(const request::Request&, Ticket&)>;
  std::optional<QueuedRequest> Pop(int model_index, request::Priority priority, const MayStart& may_start);
  // Whether the first token of a request that left the queue now, with that many prompt tokens to compute, would come
  // too late for its caller. Lock-free, for `may_start`.
  bool CannotBeInTime(int model_index, const request::Request& request, int64_t new_tokens) const;
  // For such a request, once it has been popped: DEADLINE_INFEASIBLE, counted and logged.
  absl::Status RefuseLate(const QueuedRequest& queued);
  // Removes and returns what is cancelled, evicted or not started as its caller wanted (with its refusal), or past its
  // deadline at `now`; cheap when no deadline was reached and `look_for_cancelled` is false. An eviction raises
  // kConsumer.
  std::vector<QueuedRequest> RemoveExpired(int model_index, absl::Time now, bool look_for_cancelled);
  // Removes and returns everything (drain, device fault).
  std::vector<QueuedRequest> DrainQueue(int model_index);
  // Earliest deadline in the queue, InfiniteFuture when there is none.
  absl::Time NextDeadline(int model_index) const;
  // Requests in this model's queue, not counting those still being parsed. Lock-free.
  int64_t QueuedRequests(int model_index) const;
  // Feeds the output-length histograms, once for each finished choice.
  void RecordOutputLength(int model_index, const request::Request& request, int32_t output_tokens);
  // After each step: moves the quantile of the output lengths that new leases reserve. The engine's thread.
  void RecordLeaseFit(int model_index, const LeaseFit& fit);
  // The quantile that they reserve now. Lock-free.
  double output_quantile(int model_index) const;
  // Where the model's engine says what it runs, after each step; then it calls EngineStepped.
  EngineLoad& engine_load(int model_index);
  // Has the forecast renewed when it is 0.1 s old: by the thread that SetForecastWake names, else right here.
  void EngineStepped(int model_index);

  // --- prediction ---
  // Renews the forecast of every model; below a millisecond for each. Any thread.
  void UpdateForecast(absl::Time now);
  // Notified with kControl when a forecast is due; once, before the engines start. Without it EngineStepped renews the
  // forecast itself.
  void SetForecastWake(std::shared_ptr<request::WakeSignal> wake) { forecast_wake_ = std::move(wake); }
  // When a request of that class and size would run, if it were admitted now. Several models: the soonest. Lock-free,
  // about a microsecond; any thread.
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
  // What a refusal is about.
  struct Subject {
    request::Priority priority;
    std::string_view request_id;
    int64_t prompt_tokens;
    RetryCaller retry;
    ReturnTiming returned = ReturnTiming::kNone;
  };

  explicit AdmissionController(Options options);

  // TryAdmit; without `take` the ticket of a success is empty, and only a refusal is counted.
  absl::StatusOr<Ticket> Decide(const AdmissionRequest& request, bool take);
  absl::Status RefuseByState(State state, const Subject& subject);
  // For a request that has lost its slot.
  absl::Status RefuseEvicted(const Subject& subject);
  // `expected_blocks`: that it will lease, where `required_bytes` are only a part of them.
  absl::Status RefuseForMemory(int model_index, const Subject& subject, int64_t required_bytes,
                               int64_t expected_blocks = 0);
  // When to return for `blocks` of the model's; model_index -1: for a slot, whatever the model.
  RetryPlan PlanReturn(const Subject& subject, int model_index, int64_t blocks);
  // Logs and counts the refusal and builds its status.
  absl::Status Refuse(request::Reason reason, const Subject& subject, std::string_view detail,
                      std::string_view log_line, const RetryPlan& plan, LogFields fields = {},
                      std::string_view component = "admission");
  // Who goes before a request that is admitted now.
  WaitForecast::Line LineBefore(const AdmissionRequest& request, const RetryPlanner::Arrival& arrival,
                                absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The predicted wait in the queue behind that line, where it is above the limit of the class, else zero.
  absl::Duration WaitOverLimit(const AdmissionRequest& request, int64_t prompt_tokens, const WaitForecast::Line& line,
                               const RetryPlanner::Arrival& arrival) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What a caller's limits say, and by what.
  struct LimitCheck {
    LimitVerdict verdict;
    WaitPrediction prediction;
    absl::Duration idle;  // that an idle server would need for the first token, at the least
  };
  LimitCheck CheckLimits(const AdmissionRequest& request, int64_t prompt_tokens, const WaitForecast::Line& line,
                         absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Nothing waits or runs.
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RefuseForLimits(const CallerLimits& limits, const Subject& subject, const LimitCheck& check);
  // For a request that was to start at once and did not.
  absl::Status RefuseUnstarted(const QueuedRequest& queued);
  // `kept_free_blocks` are promised to others.
  absl::Status CheckMemoryEarly(const Subject& subject, double kept_free_blocks, bool take);
  // Whether one that memory is too short for goes on, because its prompt may be leased already: a hundred a second, so
  // that common prompts are noticed while memory is short. `take`: it counts as one of them.
  bool MayBeSharer(ModelState& model, bool take) const;
  ForecastTable Foresee(ModelState& model, absl::Time now);
  // For a scrape.
  void ExportLevels();

  absl::Status FinalizeTicket(Ticket& ticket, const request::Request& request, int model_index);
  // Output tokens that a choice of the request will probably have.
  int32_t PredictOutput(ModelState& model, const request::Request& request);
  // Blocks of a request that runs, with `output` tokens for each choice; may be more than the pool has.
  static int64_t LeaseBlocks(const ModelState& model, const request::Request& request, int32_t output);
  // Ticket::ExtendLease.
  int32_t Extend(Ticket& ticket, const request::Request& request, int32_t produced, int32_t overrun);
  // From now on it is in that model's forecast, until its slot goes back.
  void CountWaiting(Slot& slot, int model_index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What was only estimated while it was parsed, or came with the body, is known now.
  void Settle(Ticket& ticket, request::Priority priority, int64_t prompt_tokens, int model_index);
  void ReturnSlot(Ticket& ticket, bool started);
  void ReturnLease(Ticket& ticket);
  void ChargeServed(Ticket& ticket, request::Priority priority, int64_t prompt_tokens, int64_t output_tokens);

  const Options options_;
  AdmissionLog log_;
  AdmissionMetrics metrics_;
  RetryPlanner planner_;
  const ReturnTickets tickets_;
  std::atomic<State> state_{State::kLoading};

  std::shared_ptr<request::WakeSignal> forecast_wake_;
  base::Mutex forecast_mutex_;  // one forecast at a time; taken before all others
  absl::Time idle_at_ ABSL_GUARDED_BY(forecast_mutex_) = absl::InfinitePast();  // a place was free, nothing waited

  mutable base::Mutex mutex_;
  SlotTable slots_ ABSL_GUARDED_BY(mutex_);
  double tokens_per_byte_ ABSL_GUARDED_BY(mutex_);
  RateEstimator departures_ ABSL_GUARDED_BY(mutex_);
  ByClass<RateEstimator> arrivals_ ABSL_GUARDED_BY(mutex_);
  // Of those arrivals, admitted ones that go before what waits already, as their tenant has less in the queue; each
  // counts as the share of the line that it passes.
  ByClass<RateEstimator> overtakers_ ABSL_GUARDED_BY(mutex_);
  // Callers' limits refuse although nothing runs; until a request starts.
  absl::Time idle_refusals_since_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  std::atomic<bool> probing_{false};  // the next to start was let in all the same, to measure anew
  const absl::Time created_;
  absl::Time loaded_at_ ABSL_GUARDED_BY(mutex_);                            // expected
  absl::Duration start_up_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();  // from created_ to the first SetReady
  std::string fault_message_ ABSL_GUARDED_BY(mutex_);

  std::vector<std::unique_ptr<ModelState>> models_;  // grows before SetReady only, under mutex_
  base::MetricCollector levels_;                     // reads the members above
};

}  // namespace hadal::admission
