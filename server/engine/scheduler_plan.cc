// SPDX-License-Identifier: Apache-2.0
// Plan: one token of every decoding sequence first, then prefill chunks with what the step's token limit leaves.
#include <algorithm>
#include <cmath>
#include <optional>

#include "server/base/check.h"
#include "server/engine/scheduler.h"

namespace hadal::engine {

using request::Priority;

BatchPlan Scheduler::Plan(absl::Time now, bool start_new) {
  now_ = now;
  ++plans_;
  BatchPlan plan;
  plan.entries.reserve(std::min<size_t>(running_.size() + 16, options_.max_batch_size));
  LimitBatch(plan);
  PlanDecode(plan);
  plan.decode_entries = static_cast<int32_t>(plan.entries.size());
  for (const PlanEntry& entry : plan.entries) plan.decode_context_tokens += entry.start;
  plan.token_limit = token_limit_ = token_budget_.Limit(plan.decode_entries, plan.decode_context_tokens);
  RemoveEnded();
  started_from_ = running_.size();
  // What was just taken from some is not at once given to others.
  if (!plan.preempted) StartSequences(now, start_new, plan);
  PlanPrefill(plan);
  BuildInput(shape_, plan);
  return plan;
}

void Scheduler::MakeWay(absl::Time now, BatchPlan& next) {
  if (next.preempted || ActiveSequences() - YieldingSequences() >= options_.max_batch_size) return;
  const std::optional<admission::QueueTurn> turn = admission_->NextTurn(model_index_, /*by_age=*/false);
  if (!turn.has_value()) return;
  const bool less_urgent =
      std::any_of(next.entries.begin() + next.decode_entries, next.entries.end(), [&](const PlanEntry& entry) {
        return !entry.dropped && entry.sequence->owner->urgency() > UrgencyOf(turn->priority, turn->owed);
      });
  if (!less_urgent || !WithdrawPrompts(next)) return;
  now_ = now;
  started_from_ = running_.size();
  StartSequences(now, /*start_new=*/true, next);
  PlanPrefill(next);
  BuildInput(shape_, next);
}

bool Scheduler::WithdrawPrompts(BatchPlan& plan) {
  const auto prompts = plan.entries.begin() + plan.decode_entries;
  for (auto entry = prompts; entry != plan.entries.end(); ++entry) {
    // What is scored or computed again has been counted, and for a last token there is no other place in a plan.
    if (entry->scores > 0 || entry->count == 1 || entry->start < entry->sequence->recompute_until) return false;
  }
  for (auto entry = prompts; entry != plan.entries.end(); ++entry) {
    entry->sequence->scheduled = entry->start;
    if (entry->samples) --entry->sequence->pending_samples;
  }
  plan.entries.erase(prompts, plan.entries.end());
  std::erase_if(plan.entries, [](const PlanEntry& entry) { return entry.dropped; });
  plan.decode_entries = plan.tokens = plan.sample_rows = static_cast<int32_t>(plan.entries.size());
  plan.prefill_tokens = 0;
  plan.prompts_of_others = false;
  return true;
}

bool Scheduler::Schedulable(const Sequence& sequence) const {
  // Where steps overlap nothing is planned for a token that is not known; chunks of a prompt may follow one another.
  if (overlapped_steps_ > 1 && sequence.pending_samples > 0) return false;
  return sequence.state == SequenceState::kRunning && !sequence.owner->suspended() && !sequence.ends_by_length() &&
         sequence.remaining() > 0;
}

const std::vector<Sequence*>& Scheduler::DecodeCandidates() {
  if (overlapped_steps_ == 1) return running_;
  candidates_.clear();
  int32_t decoding = 0;  // those in flight, too
  for (Sequence* sequence : running_) {
    if (sequence->remaining() > 1 || sequence->owner->suspended() || sequence->ends_by_length()) continue;
    ++decoding;
    if (Schedulable(*sequence)) candidates_.push_back(sequence);
  }
  // An equal part for each step in flight, so that they take equally long; and everybody has a turn in each of their
  // rounds.
  const auto share = static_cast<size_t>((decoding + overlapped_steps_ - 1) / overlapped_steps_);
  if (candidates_.size() <= share) return candidates_;
  std::stable_sort(candidates_.begin(), candidates_.end(),
                   [](const Sequence* a, const Sequence* b) { return a->last_plan < b->last_plan; });
  candidates_.resize(share);
  return candidates_;
}

void Scheduler::PlanDecode(BatchPlan& plan) {
  for (Sequence* sequence : running_) {
    ActiveRequest& request = *sequence->owner;
    if (request.ended || request.paused() || request.stream().Writable()) continue;
    request.paused_since = now_;
    ++paused_requests_;
  }
  // Those of a batch after all others, whose rows decide whether it has a turn.
  std::vector<Sequence*> batch;
  // Preemption changes the state of entries, never the vector.
  for (Sequence* candidate : DecodeCandidates()) {
    if (candidate->remaining() != 1 || !Schedulable(*candidate)) continue;
    if (Yields(*candidate->owner)) {
      batch.push_back(candidate);
    } else {
      PlanDecodeRow(*candidate, plan);
    }
  }
  plan.decode_others =
      static_cast<int32_t>(std::count_if(plan.entries.begin(), plan.entries.end(), [](const PlanEntry& entry) {
        return !entry.dropped && entry.sequence->owner->request->priority != Priority::kBatch;
      }));
  if (!BatchDecodes(plan, batch)) {
    observer_->OnRested(static_cast<int32_t>(batch.size()));
    return;
  }
  for (Sequence* sequence : batch) PlanDecodeRow(*sequence, plan);
}

void Scheduler::PlanDecodeRow(Sequence& sequence, BatchPlan& plan) {
  // Making way for another may have preempted it.
  if (!Schedulable(sequence) || static_cast<int32_t>(plan.entries.size()) >= options_.max_batch_size) return;
  if (!EnsureBlock(sequence, plan)) return;
  if (windows_.enabled()) {
    const int32_t covered = windows_.Extend(sequence.window, sequence.scheduled + 1);
    HADAL_CHECK(covered == sequence.scheduled + 1) << "a decode row found no window block in its reservation";
  }
  AddEntry(sequence, 1, plan);
}

void Scheduler::PlanPrefill(BatchPlan& plan) {
  // The most urgent first, and of those who started first.
  std::vector<Sequence*> prefilling;
  for (Sequence* sequence : running_) {
    if (sequence->remaining() > 1 && Schedulable(*sequence)) prefilling.push_back(sequence);
  }
  // A sequence that started in this plan with one token left (its prompt was cached), or goes on, has no row yet
  // either.
  for (size_t i = started_from_; i < running_.size(); ++i) {
    if (running_[i]->remaining() == 1 && Schedulable(*running_[i])) prefilling.push_back(running_[i]);
  }
  std::stable_sort(prefilling.begin(), prefilling.end(), WaitingOrder());
  Priority passed = Priority::kBatch;
  for (const Sequence* sequence : prefilling) passed = std::min(passed, sequence->owner->request->priority);
  int32_t kept_for_aged = AgedTokens(prefilling, passed, plan.token_limit);
  const int32_t decode_tokens = plan.tokens;
  plan.full = false;
  std::optional<int32_t> batch_limit;
  for (Sequence* sequence : prefilling) {
    if (static_cast<int32_t>(plan.entries.size()) >= options_.max_batch_size) break;
    const bool aged = sequence->owner->aged;
    int32_t limit = aged ? plan.token_limit
                         : std::min(plan.token_limit - kept_for_aged,
                                    StepTokens(sequence->owner->urgency(), decode_tokens, plan.token_limit));
    if (!aged && sequence->owner->request->priority == Priority::kBatch) {
      if (!batch_limit.has_value()) batch_limit = plan.tokens + std::min(BatchTokens(plan), plan.token_limit);
      limit = std::min(limit, *batch_limit);
    }
    const int32_t late = LateTokens(*sequence, passed);
    if (late > 0) limit = std::max(limit, plan.tokens) + std::min(late, kept_for_aged);
    const int32_t budget = limit - plan.tokens;
    plan.full = plan.full || sequence->remaining() > budget;
    if (budget <= 0) continue;
    int32_t count = std::min(sequence->remaining(), budget);
    // Every scored row needs logits of its own, and the model's workspace holds max_batch_size of them.
    if (sequence->scoring()) count = std::min(count, options_.max_batch_size - plan.sample_rows);
    if (windows_.enabled()) count = WindowRoom(*sequence, count);
    if (count <= 0) continue;
    AddEntry(*sequence, count, plan);
    if (sequence->owner->request->priority != Priority::kBatch) plan.prompts_of_others = true;
    if (aged || late > 0) kept_for_aged = std::max(0, kept_for_aged - count);
  }
}

int32_t Scheduler::AgedTokens(const std::vector<Sequence*>& prefilling, Priority passed, int32_t token_limit) const {
  int64_t wanted = 0;
  for (const Sequence* sequence : prefilling) {
    wanted += sequence->owner->aged ? sequence->remaining() : LateTokens(*sequence, passed);
  }
  return static_cast<int32_t>(std::min<int64_t>(wanted, AgedPart(passed, token_limit)));
}

int32_t Scheduler::LateTokens(const Sequence& sequence, Priority passed) const {
  const ActiveRequest& request = *sequence.owner;
  const Priority priority = request.request->priority;
  if (request.aged || priority == Priority::kBatch || priority <= passed) return 0;
  const int ranks = static_cast<int>(priority) - static_cast<int>(passed);
  const absl::Duration class_step = admission_->options().order.class_step;
  const absl::Time from = std::max(request.request->arrival + ranks * class_step, request.started);
  if (now_ <= from) return 0;
  const double part = std::min(1.0, absl::FDivDuration(now_ - from, class_step));
  return std::max(0, static_cast<int32_t>(std::ceil(part * sequence.length())) - sequence.scheduled);
}

int32_t Scheduler::WindowRoom(Sequence& sequence, int32_t count) {
  // With the column of the token after these, which may be decoded while this chunk's window is still held.
  const int32_t covered = windows_.Extend(sequence.window, sequence.scheduled + count + 1);
  return covered - 1 - sequence.scheduled;
}

void Scheduler::AddEntry(Sequence& sequence, int32_t count, BatchPlan& plan) {
  PlanEntry& entry = plan.entries.emplace_back();
  entry.sequence = &sequence;
  entry.start = sequence.scheduled;
  entry.count = count;
  entry.epoch = sequence.epoch;
  const int32_t end = entry.start + count;
  entry.samples = end == sequence.length() && sequence.produced() + sequence.pending_samples < sequence.max_tokens;
  if (sequence.scoring() && entry.start == sequence.scored) {
    // Row i scores prompt token i + 1; the prompt's last row has none to score.
    entry.scores = std::max(0, std::min(end, sequence.prompt_tokens - 1) - entry.start);
    sequence.scored += entry.scores;
  }
  sequence.scheduled = end;
  sequence.last_plan = plans_;
  if (entry.samples) ++sequence.pending_samples;
  plan.tokens += count;
  plan.sample_rows += entry.scores + (entry.samples ? 1 : 0);
  if (end <= sequence.prompt_tokens || count > 1) plan.prefill_tokens += count;
  const int32_t recomputed = std::min(end, sequence.recompute_until) - entry.start;
  if (recomputed <= 0) return;
  plan.recomputed_tokens += recomputed;
  observer_->OnRecomputed(recomputed);
}

}  // namespace hadal::engine
