// SPDX-License-Identifier: Apache-2.0
#include "server/admission/admission.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/admission/admission_metrics.h"
#include "server/admission/model_state.h"
#include "server/base/check.h"
#include "server/base/strings.h"

namespace hadal::admission {
namespace {

using request::Reason;

constexpr absl::Duration kRateHalfLife = kArrivalHalfLife;
// Part of the queue that stays free for first attempts.
constexpr int64_t kUnpromisedShare = 16;
// The same for who was told that no capacity is in sight, in slots and in predicted wait: it is let in once the crowd
// has gone.
constexpr int64_t kSurplusShare = 2;

}  // namespace

absl::StatusOr<std::unique_ptr<AdmissionController>> AdmissionController::Create(Options options) {
  const auto invalid = [](absl::string_view name, auto value, absl::string_view rule) {
    return absl::InvalidArgumentError(absl::StrCat("admission: ", name, " is ", value, ", must be ", rule));
  };
  if (options.max_queue_requests < 1) return invalid("max_queue_requests", options.max_queue_requests, "at least 1");
  if (options.max_queue_tokens < 0) return invalid("max_queue_tokens", options.max_queue_tokens, "0 (off) or more");
  if (!(options.initial_tokens_per_byte > 0)) {
    return invalid("initial_tokens_per_byte", options.initial_tokens_per_byte, "above 0");
  }
  if (!(options.output_quantile > 0 && options.output_quantile <= 1)) {
    return invalid("output_quantile", options.output_quantile, "in (0, 1]");
  }
  double floors = 0;
  bool negative = false;
  for (const double share : options.class_floors) {
    floors += share;
    negative = negative || !(share >= 0);
  }
  if (negative || floors > 1) {
    return invalid("class_floors", ClassSharesText(options.class_floors), "shares that add up to at most 1");
  }
  return std::unique_ptr<AdmissionController>(new AdmissionController(std::move(options)));
}

AdmissionController::AdmissionController(Options options)
    : options_(std::move(options)),
      log_(options_.log),
      metrics_(std::make_unique<AdmissionMetrics>(options_.metrics)),
      planner_({.surplus = options_.surplus_retry,
                .ghost_share = options_.ghost_share,
                .wait_limits = options_.wait_limits,
                .seed = options_.seed}),
      slots_(options_.max_queue_requests, options_.max_queue_tokens, options_.class_floors),
      tokens_per_byte_(options_.initial_tokens_per_byte),
      departures_(kRateHalfLife),
      arrivals_{RateEstimator(kRateHalfLife), RateEstimator(kRateHalfLife), RateEstimator(kRateHalfLife),
                RateEstimator(kRateHalfLife)},
      offered_prompts_(kRateHalfLife),
      overtakers_(arrivals_),
      created_(options_.clock->Now()),
      loaded_at_(created_),
      levels_(options_.metrics, [this] { ExportLevels(); }) {
  sent_away_ = options_.seed;  // replicas that started alike begin at different ones
}

AdmissionController::~AdmissionController() {
  for (size_t i = 0; i < models_.size(); ++i) {
    for (QueuedRequest& queued : DrainQueue(static_cast<int>(i))) {
      queued.request->stream->Close(request::MakeError(Reason::kDraining, "the server has stopped"), {});
    }
  }
}

absl::StatusOr<int> AdmissionController::AddModel(const ModelLimits& limits) {
  if (limits.max_model_len < 1 || limits.block_tokens < 1 || limits.block_bytes < 1 || limits.pool == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("admission: model ", limits.name, " has context ",
                                                   limits.max_model_len, ", block of ", limits.block_tokens,
                                                   " tokens and ", limits.block_bytes, " bytes; all must be known"));
  }
  if (limits.pool->capacity_bytes() < limits.block_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("admission: the KV pool of model ", limits.name, " has ",
                                                   limits.pool->capacity_bytes(), " bytes, less than one block of ",
                                                   limits.block_bytes));
  }
  base::MutexLock lock(&mutex_);  // GetLoad may be asked while models load
  models_.push_back(std::make_unique<ModelState>(limits, options_.order, options_.output_quantile));
  return static_cast<int>(models_.size()) - 1;
}

void AdmissionController::SetLoading(absl::Duration remaining) {
  base::MutexLock lock(&mutex_);
  loaded_at_ = options_.clock->Now() + remaining;
}

void AdmissionController::SetReady() {
  {
    base::MutexLock lock(&mutex_);
    if (start_up_ == absl::ZeroDuration()) start_up_ = options_.clock->Now() - created_;
  }
  State loading = State::kLoading;  // a drain or a fault that came first stays
  state_.compare_exchange_strong(loading, State::kReady);
}

void AdmissionController::BeginDrain() {
  State current = state_.load();
  while (current != State::kDeviceFault && !state_.compare_exchange_weak(current, State::kDraining)) {
  }
}

void AdmissionController::SetDeviceFault(std::string_view message) {
  {
    base::MutexLock lock(&mutex_);
    if (fault_message_.empty()) fault_message_ = std::string(message);
  }
  state_.store(State::kDeviceFault);
}

absl::StatusOr<Ticket> AdmissionController::TryAdmit(const AdmissionRequest& request) {
  return Decide(request, /*take=*/true);
}

absl::Status AdmissionController::CheckRoom(const AdmissionRequest& request) {
  return Decide(request, /*take=*/false).status();
}

absl::Status AdmissionController::CheckState(const AdmissionRequest& request) {
  if (state_.load(std::memory_order_acquire) == State::kReady) return absl::OkStatus();
  return Decide(request, /*take=*/false).status();
}

absl::StatusOr<Ticket> AdmissionController::Decide(const AdmissionRequest& request, bool take) {
  const absl::Time now = options_.clock->Now();
  const State state = state_.load(std::memory_order_acquire);
  const RetryPlanner::Arrival arrival = planner_.Arrive(request.retry, request.priority, now);
  Subject subject{request.priority, request.request_id, 0, request.retry, arrival.timing};
  subject.retry.gateway = subject.retry.gateway || options_.behind_gateway;
  Finding finding;
  {
    base::MutexLock lock(&mutex_);
    subject.prompt_tokens =
        std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(request.body_bytes) * tokens_per_byte_));
    finding = Find(request, arrival, subject.prompt_tokens, state, take, now);
    const bool first_attempt = arrival.timing == ReturnTiming::kNone && request.retry.attempt == 0 && !arrival.surplus;
    if (first_attempt && (take || finding.reason != Reason::kNone)) {
      arrivals_[static_cast<size_t>(request.priority)].Record(now, 1);
      offered_prompts_.Record(now, static_cast<double>(subject.prompt_tokens));
      planner_.CountArrival(request.priority);
    }
  }
  Ticket ticket;
  if (finding.taken.slot != nullptr) {
    ticket.controller_ = this;
    ticket.slot_ = std::move(finding.taken.slot);
    ticket.admitted_ = now;
    ticket.body_bytes_ = request.body_bytes;
    ticket.tenant_ = request.tenant;
    ticket.retry_ = subject.retry;
    ticket.returned_ = arrival.timing;
  }
  WakeEvicted(finding.taken);
  if (take || finding.reason != Reason::kNone) {
    metrics_->CountAttempt(request.priority, subject.prompt_tokens);
    planner_.Watch(request.retry, now);
  }
  if (state != State::kReady) return RefuseByState(state, subject);
  if (finding.reason != Reason::kNone) return RefuseFor(finding, request, subject);
  // On a refusal the ticket is destroyed here and returns its slot.
  const double left =
      ModelState::LeastLeftToFirstAttempts(models_, arrival, request.retry.attempt, subject.prompt_tokens);
  if (absl::Status status = CheckMemoryEarly(subject, arrival.kept_free.blocks + left, take); !status.ok()) {
    if (!take) metrics_->CountAttempt(request.priority, subject.prompt_tokens);
    return status;
  }
  if (take) planner_.Admit(request.retry, now);
  return ticket;
}

AdmissionController::Finding AdmissionController::Find(const AdmissionRequest& request,
                                                       const RetryPlanner::Arrival& arrival, int64_t prompt_tokens,
                                                       State state, bool take, absl::Time now) {
  Finding finding;
  if (state != State::kReady) {
    finding.reason = Reason::kModelLoading;  // or another: RefuseByState
    return finding;
  }
  const WaitForecast::Line line = LineBefore(request, arrival, now);
  const SlotTable::Demand demand{request.priority, request.tenant, prompt_tokens, KeptFreeSlots(request, arrival)};
  const LimitCheck limits = CheckLimits(request, prompt_tokens, line, now);
  // Where there is no slot anyway, that is the reason told, unless the caller's limit could never be met.
  if (limits.verdict.reason == Reason::kRequestNeverFits ||
      (limits.verdict.reason != Reason::kNone && slots_.Check(demand) == SlotTable::Room::kYes)) {
    finding.reason = limits.verdict.reason;
    finding.over_limits = limits;
    return finding;
  }
  finding.predicted_wait = WaitOverLimit(request, prompt_tokens, line, arrival);
  if (finding.predicted_wait > absl::ZeroDuration() && slots_.Check(demand) == SlotTable::Room::kYes) {
    finding.reason = Reason::kWaitLimit;
    return finding;
  }
  if (take) {
    finding.taken = slots_.Take(demand);
    if (finding.taken.slot != nullptr && line.class_share < 1) {
      overtakers_[static_cast<size_t>(request.priority)].Record(now, 1 - line.class_share);
    }
    // With several models Finalize is the first to know which.
    if (finding.taken.slot != nullptr && models_.size() == 1) CountWaiting(*finding.taken.slot, 0);
    ForgetEvicted(finding.taken);
  } else {
    finding.taken.room = slots_.Check(demand);
  }
  if (finding.taken.room != SlotTable::Room::kYes) {
    const bool no_slot = finding.taken.room == SlotTable::Room::kSlotsFull;
    finding.reason = no_slot ? Reason::kConnectionQueueFull : Reason::kQueueTokensFull;
    finding.taken_before = no_slot ? slots_.slots() : slots_.tokens();
  }
  return finding;
}

int64_t AdmissionController::KeptFreeSlots(const AdmissionRequest& request,
                                           const RetryPlanner::Arrival& arrival) const {
  // Not more than half: who has a promise competes for the rest with those who have one, too.
  const double expected = std::max(arrival.kept_free.places, arrival.expected_soon);
  auto kept_free = std::min(static_cast<int64_t>(std::ceil(expected)), options_.max_queue_requests / 2);
  // Who returns without a promise takes what first attempts leave: served in their place it would cost more attempts.
  const bool returns_unpromised =
      arrival.timing != ReturnTiming::kInWindow && (request.retry.attempt > 0 || arrival.surplus);
  const int64_t left_share = arrival.surplus ? kSurplusShare : kUnpromisedShare;
  if (returns_unpromised) kept_free += options_.max_queue_requests / left_share;
  return kept_free;
}

void AdmissionController::ForgetEvicted(const SlotTable::Taken& taken) {
  for (const Slot::Where& where : taken.evicted) {
    if (where.forecast_index < 0) continue;
    models_[where.forecast_index]->forecast.RemoveWaiting(where.priority, where.tokens, /*started=*/false);
  }
}

void AdmissionController::WakeEvicted(const SlotTable::Taken& taken) {
  for (const Slot::Where& where : taken.evicted) {
    if (where.model_index < 0 || models_[where.model_index]->wake == nullptr) continue;
    models_[where.model_index]->wake->Notify(request::WakeSignal::kConsumer);
  }
}

absl::Status AdmissionController::RefuseFor(const Finding& finding, const AdmissionRequest& request, Subject subject) {
  if (finding.over_limits.has_value()) return RefuseForLimits(request.limits, subject, *finding.over_limits);
  if (finding.reason == Reason::kConnectionQueueFull) {
    const std::string slots = absl::StrCat(finding.taken_before, "/", options_.max_queue_requests);
    return Refuse(finding.reason, subject, absl::StrCat("queue full, ", slots, " waiting"),
                  absl::StrCat("CONNECTION_QUEUE_FULL: ", slots, " pending connections"), PlanReturn(subject, -1, 0));
  }
  if (finding.reason == Reason::kQueueTokensFull) {
    const std::string tokens = absl::StrCat(finding.taken_before, "/", options_.max_queue_tokens);
    return Refuse(finding.reason, subject, absl::StrCat("queue full, ", tokens, " tokens waiting"),
                  absl::StrCat("QUEUE_TOKENS_FULL: ", tokens, " pending tokens"), PlanReturn(subject, -1, 0));
  }
  subject.wait_limit = options_.wait_limits[static_cast<size_t>(request.priority)];
  const std::string wait = finding.predicted_wait == absl::InfiniteDuration()
                               ? absl::StrCat("more than ", absl::FormatDuration(kForecastHorizon))
                               : absl::StrFormat("about %.1fs", absl::ToDoubleSeconds(finding.predicted_wait));
  const std::string_view name = request::kPriorityNames[static_cast<size_t>(request.priority)];
  const std::string detail = absl::StrCat("a request of class ", base::View(name), " would wait ", wait,
                                          ", the limit is ", absl::FormatDuration(subject.wait_limit));
  return Refuse(finding.reason, subject, detail, absl::StrCat("WAIT_LIMIT: ", detail), PlanReturn(subject, -1, 0));
}

WaitForecast::Line AdmissionController::LineBefore(const AdmissionRequest& request,
                                                   const RetryPlanner::Arrival& arrival, absl::Time now) const {
  const double class_share = slots_.ShareAhead(request.priority, request.tenant);
  const RateEstimator& overtakers = overtakers_[static_cast<size_t>(request.priority)];
  return {.class_share = class_share,
          .others = arrival.kept_free.places,
          .overtakers_per_second = class_share * overtakers.PerSecond(now)};
}

absl::Duration AdmissionController::WaitOverLimit(const AdmissionRequest& request, int64_t prompt_tokens,
                                                  const WaitForecast::Line& line,
                                                  const RetryPlanner::Arrival& arrival) const {
  const absl::Duration limit = options_.wait_limits[static_cast<size_t>(request.priority)];
  if (limit == absl::InfiniteDuration()) return absl::ZeroDuration();
  // What was promised is held for it. And one of a class may always wait: a forecast that is wrong must not shut it
  // out.
  if (arrival.timing == ReturnTiming::kInWindow || slots_.slots(request.priority) == 0) return absl::ZeroDuration();
  const WaitPrediction prediction = PredictWait(request.priority, prompt_tokens, line);
  if (!prediction.known || prediction.start <= (arrival.surplus ? limit / kSurplusShare : limit)) {
    return absl::ZeroDuration();
  }
  return prediction.start;
}

uint64_t AdmissionController::OpenTicket(std::string_view ticket, uint64_t owner) {
  const absl::Time now = options_.clock->Now();
  ReturnTickets::Opened opened = tickets_.Open(ticket, now);
  if (opened.state == TicketState::kAccepted) {
    const RetryPlanner::Holding holding = planner_.Holds(opened.promise, owner, now);
    if (holding == RetryPlanner::Holding::kGone) opened.state = TicketState::kUsed;
    if (holding == RetryPlanner::Holding::kOfOthers) opened.state = TicketState::kForged;
  }
  metrics_->CountTicket(opened.state);
  return opened.state == TicketState::kAccepted ? opened.promise : 0;
}

void AdmissionController::Withdraw(const absl::Status& refusal) {
  const std::string ticket = request::GetErrorDetail(refusal).ticket;
  if (ticket.empty()) return;
  const absl::Time now = options_.clock->Now();
  const ReturnTickets::Opened opened = tickets_.Open(ticket, now);
  if (opened.state == TicketState::kAccepted && planner_.Withdraw(opened.promise, now))
    metrics_->CountTicketWithdrawn();
}

void AdmissionController::ExportLevels() {
  metrics_->ExportLoad(GetLoad());
  base::MutexLock lock(&mutex_);
  for (const auto& model : models_) {
    metrics_->ExportReserve(model->limits.name, model->deviation.deviations(), model->quantile.quantile());
  }
  metrics_->ExportOfferedLoad(OfferedLoad(options_.clock->Now()));
}

AdmissionController::Load AdmissionController::GetLoad() const {
  Load load;
  const absl::Time now = options_.clock->Now();
  const State state = state_.load(std::memory_order_acquire);
  load.ready = state == State::kReady;
  load.draining = state == State::kDraining;
  load.waiting_limit = options_.max_queue_requests;
  base::MutexLock lock(&mutex_);
  for (const auto& model : models_) {
    load.memory_leased_bytes += model->limits.pool->leased_bytes();
  }
  load.waiting = slots_.slots();
  load.waiting_tokens = slots_.tokens();
  for (size_t i = 0; i < request::kNumPriorities; ++i) {
    load.waiting_by_class[i] = slots_.slots(static_cast<request::Priority>(i));
    load.tokens_by_class[i] = slots_.tokens(static_cast<request::Priority>(i));
  }
  load.departures_per_second = departures_.PerSecond(now);
  const double prompt = models_.empty() ? 0 : models_[0]->tokens_per_prompt.load(std::memory_order_relaxed);
  for (size_t i = 0; i < request::kNumPriorities; ++i) {
    const WaitPrediction wait =
        PredictWait(static_cast<request::Priority>(i), std::max<int64_t>(1, static_cast<int64_t>(prompt)));
    if (!wait.known) continue;
    load.predicted_wait_by_class[i] = absl::ToDoubleSeconds(std::min(wait.start, kForecastHorizon));
  }
  load.predicted_wait_seconds = load.predicted_wait_by_class[static_cast<size_t>(request::Priority::kNormal)];
  return load;
}

}  // namespace hadal::admission
