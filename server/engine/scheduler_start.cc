// SPDX-License-Identifier: Apache-2.0
// Start: preempted sequences, further choices of running requests, and queued requests, in class order, while there is
// room.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/check.h"
#include "server/engine/scheduler.h"
#include "server/request/refusal.h"

namespace hadal::engine {

using request::Priority;
using request::Reason;

namespace {

int Rank(const request::Request& request) { return static_cast<int>(request.priority); }

constexpr absl::Duration kUrgentLately = absl::Seconds(10);
constexpr int32_t kKeptShare = 64;
constexpr int32_t kLeastKeeping = 32;  // of the batch's sequences, for one of them to be kept free
// While more urgent requests come, prompts fill an eighth of a step's room at the least, and as much more as keeps what
// each step costs besides its tokens below a sixteenth of its time. Where that is all, one step in 32 is short all the
// same: only steps that differ tell what they cost.
constexpr int32_t kShortSteps = 8;
constexpr double kStepCostShare = 1.0 / 16;
constexpr uint64_t kTryShort = 32;
constexpr int32_t kShortChunk = 32;  // tokens of a prompt
// Of the blocks, which are ample when more than that part of them is free. Much less than what QuantileController takes
// for idle, or the blocks that longer answers might need would never be lent to others.
constexpr int32_t kAmpleShare = 20;

// What runs, as far as it decides who may start beside it.
struct RunningWork {
  explicit RunningWork(const std::vector<Sequence*>& running) {
    for (const Sequence* sequence : running) {
      if (sequence->owner->set_aside()) continue;
      const bool prefilling = sequence->remaining() > 1;
      if (prefilling) backlog[sequence->owner->urgency()] += sequence->remaining();
      ++of_class[static_cast<size_t>(Rank(*sequence->owner->request))];
      if (!sequence->owner->aged) continue;
      ++aged_sequences;
      if (prefilling) aged_tokens += sequence->remaining();
    }
  }

  // Prompt tokens that go before those of a new sequence of that urgency.
  int64_t TokensBefore(Urgency urgency) const {
    return std::accumulate(backlog.begin(), backlog.begin() + urgency + 1, int64_t{0});
  }
  int32_t& of_batch() { return of_class[static_cast<size_t>(Priority::kBatch)]; }

  std::array<int64_t, kUrgencies> backlog = {};  // prompt tokens that are to be computed
  // Sequences. What runs because it had its turn by age counts as well, so that age adds nothing to its class.
  std::array<int32_t, request::kNumPriorities> of_class = {};
  int32_t aged_sequences = 0;
  int64_t aged_tokens = 0;  // of prompts that wait for their share of a step
};

// Who would start next. In a class, sequences that already ran go before queued requests; a head that cannot start
// blocks its class and those below.
struct Candidate {
  // One of the two is there.
  Candidate(Sequence* waiting, const std::optional<admission::QueueTurn>& turn)
      : from_waiting(waiting != nullptr &&
                     (!turn.has_value() || Rank(*waiting->owner->request) <= static_cast<int>(turn->priority))),
        aged(!from_waiting && turn->aged()),
        urgency(from_waiting ? waiting->owner->urgency() : UrgencyOf(turn->priority, turn->owed)),
        of_batch((from_waiting ? waiting->owner->request->priority : turn->priority) == Priority::kBatch) {}

  const bool from_waiting;  // of the sequences that already ran
  const bool aged;          // its turn has come by its age
  const Urgency urgency;
  const bool of_batch;
};

}  // namespace

int32_t Scheduler::ActiveSequences() const {
  if (paused_requests_ == 0 && aside_requests_ == 0) return static_cast<int32_t>(running_.size());
  return static_cast<int32_t>(
      std::count_if(running_.begin(), running_.end(), [](const Sequence* s) { return !s->owner->suspended(); }));
}

bool Scheduler::MoreUrgentLately(Urgency urgency) const {
  return std::any_of(last_start_.begin(), last_start_.begin() + urgency,
                     [this](absl::Time start) { return now_ - start < kUrgentLately; });
}

int32_t Scheduler::KeptPlaces(Urgency urgency) const {
  if (options_.max_batch_size < kLeastKeeping || !MoreUrgentLately(urgency)) return 0;
  return std::max(1, options_.max_batch_size / kKeptShare);
}

int32_t Scheduler::StepTokens(Urgency urgency, int32_t decode_tokens, int32_t token_limit) const {
  const int32_t room = token_limit - decode_tokens;
  if (room <= 0 || !MoreUrgentLately(urgency)) return token_limit;
  const double enough = plans_ % kTryShort == 0 ? 0 : step_cost_.TokensForShare(kStepCostShare) - decode_tokens;
  // Prompts of a batch have time: where short steps cost little, they leave all of the room.
  const bool batch = urgency >= UrgencyOf(Priority::kBatch, /*owed=*/true);
  const int32_t least = std::clamp(room / kShortSteps, 1, batch ? kShortChunk : room);
  return decode_tokens + static_cast<int32_t>(std::clamp<double>(enough, least, room));
}

void Scheduler::StartSequences(absl::Time now, bool start_new, BatchPlan& plan) {
  no_room_ = false;
  if (waiting_.empty() && aside_requests_ == 0 && (!start_new || admission_->QueuedRequests(model_index_) == 0)) return;
  if (start_new && Gathering(now)) return;
  int32_t active = ActiveSequences();
  RunningWork work(running_);
  const auto has_turn = [&](Urgency urgency) {
    return plan.tokens + work.TokensBefore(urgency) < StepTokens(urgency, plan.tokens, plan.token_limit);
  };
  const auto has_share = [&](const admission::QueueTurn& turn) {
    const int32_t sequences = AgedPart(turn.passed, options_.max_batch_size);
    return work.aged_sequences < sequences && work.of_class[static_cast<size_t>(turn.priority)] < sequences &&
           work.aged_tokens < AgedPart(turn.passed, plan.token_limit);
  };
  if (const auto turn = AgedAside(start_new); turn.has_value() && has_share(*turn)) ResumeAged(active, plan);
  // Active ones whose places go to more urgent requests.
  int32_t yielding = YieldingSequences();
  const auto set_aside_until = [&](int32_t most) {
    const int32_t left = SetAsideUntil(most, active, plan);
    yielding -= active - left;
    active = left;
  };
  bool by_age = true;
  while (active - yielding < options_.max_batch_size) {
    Sequence* waiting = NextWaiting();
    const std::optional<admission::QueueTurn> turn =
        start_new ? admission_->NextTurn(model_index_, by_age) : std::nullopt;
    if (waiting == nullptr && !turn.has_value()) break;
    if (turn.has_value() && turn->aged() && !has_share(*turn)) {
      by_age = false;
      continue;
    }
    const Candidate next(waiting, turn);
    const int32_t taken = next.of_batch ? active : active - yielding;
    if (next.aged && taken >= options_.max_batch_size) {
      by_age = false;
      continue;
    }
    if (!next.aged && !has_turn(next.urgency)) break;
    if (taken >= options_.max_batch_size - (next.from_waiting || next.aged ? 0 : KeptPlaces(next.urgency))) break;
    // What is set aside has begun.
    if (next.of_batch && !next.aged && (work.of_batch() >= batch_rows_ || NextAside() != nullptr)) break;
    if (windows_.enabled()) set_aside_until(options_.max_batch_size - 1);
    const size_t running_before = running_.size();
    if (!(next.from_waiting ? StartWaiting(*waiting) : StartFromQueue(turn->priority, next.aged, now))) {
      if (PreemptSuspended(plan)) continue;
      if (next.aged && !turn->overdue) {
        by_age = false;  // more urgent ones may find room meanwhile
        continue;
      }
      no_room_ = true;
      break;
    }
    for (size_t i = running_before; i < running_.size(); ++i) {
      work.backlog[running_[i]->owner->urgency()] += running_[i]->remaining();
    }
    active += static_cast<int32_t>(running_.size() - running_before);
    if (next.of_batch) work.of_batch() += static_cast<int32_t>(running_.size() - running_before);
    set_aside_until(options_.max_batch_size);
    // One a plan: the next step's plan sees what is left of their share.
    if (next.aged) by_age = false;
  }
  ResumeAside(start_new, active, work.of_batch(), plan);
}

bool Scheduler::Gathering(absl::Time now) {
  if (options_.batch_wait <= absl::ZeroDuration() || !requests_.empty()) {
    gather_until_ = absl::InfinitePast();
    return false;
  }
  if (gather_until_ == absl::InfinitePast()) gather_until_ = now + options_.batch_wait;
  if (now < gather_until_ && admission_->QueuedRequests(model_index_) < options_.max_batch_size) return true;
  gather_until_ = absl::InfinitePast();
  return false;
}

Sequence* Scheduler::NextWaiting() const {
  for (Sequence* sequence : waiting_) {
    if (sequence->owner->suspended() || sequence->ends_by_length()) continue;
    if (sequence->choice > 0) {
      // The first choice computes the prompt; the others then find its blocks in the prefix cache. Where only the
      // prompt was asked for they end with it, unless the caller has stopped it before.
      const Sequence& leader = *sequence->owner->choices[0];
      if (sequence->max_tokens == 0 && leader.state != SequenceState::kEnded) continue;
      const bool first_start = sequence->computed == 0 && sequence->preemptions == 0;
      if (options_.prefix_cache && first_start && leader.state != SequenceState::kEnded &&
          leader.computed < leader.prompt_tokens) {
        continue;
      }
    }
    return sequence;
  }
  return nullptr;
}

int32_t Scheduler::ReserveTokens(const Sequence& sequence) const {
  if (options_.max_preemptions > 0) return sequence.length();
  return sequence.prompt_tokens + std::max(sequence.max_tokens - 1, 0);
}

bool Scheduler::CanReserveWindow() const {
  if (static_cast<int64_t>(running_.size()) < windows_.max_sequences()) return true;
  // Every sequence of a batch has its window blocks, but paused ones keep theirs. Some may just have been preempted.
  return std::count_if(running_.begin(), running_.end(), [](const Sequence* s) {
           return s->state == SequenceState::kRunning;
         }) < windows_.max_sequences();
}

std::optional<int32_t> Scheduler::FindRoom(absl::Span<const int32_t> tokens, int32_t length, int32_t reserve_tokens,
                                           uint64_t salt, bool use_cache) const {
  if (!CanReserveWindow()) return std::nullopt;
  PrefixCache::Lookup hit;
  if (use_cache) {
    const int32_t known = std::min(static_cast<int32_t>(tokens.size()), length - 1);
    hit = cache_.Peek(tokens, salt, known / options_.block_tokens);
  }
  // While others run, some blocks stay free for their next tokens, so that a start is not followed by a preemption.
  const int32_t running = static_cast<int32_t>(running_.size());
  const int32_t watermark = std::min(running, cache_.pool().total() / 64);
  if (BlocksFor(reserve_tokens) - hit.blocks > cache_.available() - hit.evictable - watermark) return std::nullopt;
  return hit.blocks;
}

bool Scheduler::StartLease(admission::Ticket& ticket, std::optional<int32_t> cached_blocks) const {
  return cached_blocks.has_value() && (!shares_leases_ || ticket.StartPrefix(*cached_blocks));
}

void Scheduler::SuspendLease(ActiveRequest& request) const {
  if (shares_leases_ && !request.holds_blocks()) request.ticket.SuspendPrefix();
}

void Scheduler::ExtendLease(Sequence& sequence) const {
  ActiveRequest& request = *sequence.owner;
  // Where nothing is foreseen, blocks beyond the lease count once they are short: while some are idle, an answer that
  // is longer than expected takes nothing from others. Without more of a lease the sequence goes on, and its next block
  // asks again.
  const int32_t held = static_cast<int32_t>(sequence.blocks.size()) * options_.block_tokens;
  const bool short_of_blocks = cache_.available() <= cache_.pool().total() / kAmpleShare;
  const int32_t overrun = short_of_blocks ? std::max(0, held - sequence.leased_tokens) : 0;
  const int64_t before = request.ticket.leased_blocks();
  const int32_t more = request.ticket.ExtendLease(*request.request, sequence.produced(), overrun);
  sequence.leased_tokens += more;
  if (more == 0) request.leased_blocks += static_cast<int32_t>(request.ticket.leased_blocks() - before);
}

bool Scheduler::StartWaiting(Sequence& sequence) {
  const request::Request& request = *sequence.owner->request;
  const bool use_cache = !sequence.scoring();
  const std::optional<int32_t> cached =
      FindRoom(sequence.tokens, sequence.length(), ReserveTokens(sequence), request.cache_salt, use_cache);
  if (!cached.has_value()) return false;
  // While another choice runs, the prompt's blocks are there.
  if (!sequence.owner->holds_blocks() && !StartLease(sequence.owner->ticket, cached)) return false;
  waiting_.erase(&sequence);
  Run(sequence, now_);
  return true;
}

bool Scheduler::StartFromQueue(request::Priority priority, bool aged, absl::Time now) {
  bool too_late = false;
  const auto may_start = [&](const request::Request& request, admission::Ticket& ticket) {
    if (!CheckRequest(request).ok()) return true;  // it is failed at once, so that the queue moves
    too_late = CannotBeInTime(request);
    if (too_late) return true;  // what cannot be done in time is not begun
    const int32_t length = static_cast<int32_t>(request.prompt.size());
    const int32_t reserve = options_.max_preemptions > 0 ? length : length + std::max(request.max_tokens - 1, 0);
    return StartLease(ticket, FindRoom(request.prompt, length, reserve, request.cache_salt, !request.prompt_logprobs));
  };
  std::optional<admission::QueuedRequest> queued = admission_->Pop(model_index_, priority, may_start);
  if (!queued.has_value()) return false;
  absl::Status status = CheckRequest(*queued->request);
  if (status.ok() && too_late) status = admission_->RefuseLate(*queued);
  if (!status.ok()) {
    CloseQueued(*std::move(queued), status, now);
    return true;
  }
  StartRequest(*std::move(queued), aged, now);
  return true;
}

bool Scheduler::CannotBeInTime(const request::Request& request) const {
  const auto length = static_cast<int32_t>(request.prompt.size());
  if (!admission_->CannotBeInTime(model_index_, request, length)) return false;
  if (request.prompt_logprobs) return true;
  // What the prefix cache has need not be computed.
  const PrefixCache::Lookup hit = cache_.Peek(request.prompt, request.cache_salt, (length - 1) / options_.block_tokens);
  return hit.blocks == 0 ||
         admission_->CannotBeInTime(model_index_, request, length - hit.blocks * options_.block_tokens);
}

absl::Status Scheduler::CheckRequest(const request::Request& request) const {
  // The front ends and admission have checked all of this; a request that slips through must not reach the model, where
  // it would end the whole step.
  const int64_t prompt = static_cast<int64_t>(request.prompt.size());
  if (prompt < 1 || request.n < 1 || request.max_tokens < 0 || prompt + request.max_tokens > info_.max_model_len) {
    return request::MakeError(Reason::kInvalidRequest,
                              absl::StrCat("prompt of ", prompt, " tokens, max_tokens ", request.max_tokens, ", n ",
                                           request.n, ": outside the context of ", info_.max_model_len));
  }
  const int64_t kv_tokens = prompt + std::max(request.max_tokens - 1, 0);
  if (kv_tokens > int64_t{1} * options_.num_blocks * options_.block_tokens) {
    return request::MakeError(Reason::kRequestNeverFits,
                              absl::StrCat("the request may need ", kv_tokens, " tokens of KV cache; the pool has ",
                                           int64_t{1} * options_.num_blocks * options_.block_tokens));
  }
  for (const int32_t token : request.prompt) {
    if (token < 0 || token >= info_.vocab_size) {
      return request::MakeError(
          Reason::kInvalidRequest,
          absl::StrCat("prompt token ", token, " is outside the vocabulary of ", info_.vocab_size));
    }
  }
  for (const auto& [token, bias] : request.sampling.logit_bias) {
    if (token < 0 || token >= info_.vocab_size || !std::isfinite(bias)) {
      return request::MakeError(Reason::kInvalidRequest, absl::StrCat("logit_bias of token ", token, " is ", bias));
    }
  }
  if (request.top_logprobs < -1 || request.top_logprobs > 20) {
    return request::MakeError(Reason::kInvalidRequest, absl::StrCat("top_logprobs is ", request.top_logprobs));
  }
  return absl::OkStatus();
}

void Scheduler::StartRequest(admission::QueuedRequest queued, bool aged, absl::Time now) {
  auto owned = std::make_unique<ActiveRequest>();
  ActiveRequest& request = *owned;
  request.request = std::move(queued.request);
  request.ticket = std::move(queued.ticket);
  request.ticket.ReleaseSlot();
  request.order = next_order_;
  next_order_ += static_cast<uint64_t>(request.request->n);
  request.index = requests_.size();
  request.aged = aged;
  request.owed = queued.owed;
  request.started = last_start_[request.urgency()] = now;
  request.usage.prompt_tokens = static_cast<int32_t>(request.request->prompt.size());
  request.open_choices = request.request->n;
  request.leased_blocks = static_cast<int32_t>(request.ticket.leased_blocks() / request.request->n);
  for (int32_t choice = 0; choice < request.request->n; ++choice) {
    Sequence& sequence = *request.choices.emplace_back(std::make_unique<Sequence>(&request, choice, info_.vocab_size));
    sequence.non_preemptible = options_.max_preemptions == 0;
    sequence.leased_tokens =
        BlocksFor(sequence.prompt_tokens + std::max(request.ticket.predicted_output() - 1, 0)) * options_.block_tokens;
    if (choice > 0) waiting_.insert(&sequence);
  }
  requests_.push_back(std::move(owned));
  next_deadline_ = std::min(next_deadline_, request.request->deadline);
  outbox_.push_back({Outgoing::Kind::kStarted, &request, {}, {}, {}});
  observer_->OnStarted(request.request->priority, now - request.request->arrival);
  Run(*request.choices[0], now);
}

void Scheduler::Run(Sequence& sequence, absl::Time now) {
  ActiveRequest& request = *sequence.owner;
  sequence.chain = PrefixChain();
  if (!sequence.scoring()) {
    const int32_t known = std::min(static_cast<int32_t>(sequence.tokens.size()), sequence.length() - 1);
    cache_.Match(sequence.tokens, request.request->cache_salt, known / options_.block_tokens, sequence.blocks,
                 sequence.chain, sequence.window);
  }
  sequence.computed = sequence.scheduled = sequence.chain.blocks * options_.block_tokens;
  if (sequence.preemptions == 0) {
    const int32_t hit = std::min(sequence.computed, sequence.prompt_tokens);
    observer_->OnPrefixLookup(sequence.prompt_tokens, hit);
    if (sequence.choice == 0) request.usage.cached_tokens = hit;
  }
  const size_t blocks = static_cast<size_t>(BlocksFor(ReserveTokens(sequence)));
  while (sequence.blocks.size() < blocks) {
    const int32_t block = cache_.Allocate();
    HADAL_CHECK(block >= 0) << "room was checked, but no block is available";
    sequence.blocks.push_back(block);
  }
  ExtendLease(sequence);
  sequence.state = SequenceState::kRunning;
  running_.push_back(&sequence);
}

}  // namespace hadal::engine
