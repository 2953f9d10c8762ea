// SPDX-License-Identifier: Apache-2.0
// Share: what class batch may add to the time of steps that others are in. A row or a token that takes longer than its
// share of one step rests until several have paid for it.
#include <algorithm>

#include "server/engine/scheduler.h"

namespace hadal::engine {

using request::Priority;

namespace {

// What the decode rows of a batch, and the chunks of its prompts, may add to the time of a step that decodes for other
// classes. Longer steps do not only delay the tokens in them: fewer fit between two prompts of the others, whose steps
// are the longest and make the p99.
constexpr double kRowsShare = 1.0 / 20;
constexpr double kChunkShare = 1.0 / 40;
// Where chunks turn out to add less than the fit of the step time says, they get more, up to that by the fit.
constexpr double kMostChunkShare = 1.0 / 4;
// One step in so many has no chunk, to see what it takes without.
constexpr uint64_t kTryWithout = 32;

bool OfBatch(const Sequence& sequence) { return sequence.owner->request->priority == Priority::kBatch; }

// How many that take `each_s` seconds have room in `spare_s`: at most `all`.
int32_t Fitting(double spare_s, double each_s, int32_t all) {
  return spare_s >= each_s * all ? all : static_cast<int32_t>(std::max(0.0, spare_s) / each_s);
}

}  // namespace

int32_t Scheduler::BatchRows() const {
  const int32_t all = options_.max_batch_size;
  // Where it costs a preemption, it is left to those that need the place.
  if (!step_time_.known() || windows_.enabled()) return all;
  int32_t others = 0, of_batch = 0;
  double others_context = 0, batch_context = 0;
  for (const Sequence* sequence : running_) {
    if (sequence->owner->paused()) continue;
    const bool batch = OfBatch(*sequence);
    ++(batch ? of_batch : others);
    (batch ? batch_context : others_context) += sequence->computed;
  }
  if (others == 0 || of_batch == 0) return all;
  const double row_s = step_time_.sequence_s + step_time_.context_token_s * batch_context / of_batch;
  return std::max(1, Fitting(kRowsShare * step_time_.Seconds(others, others_context, 0), row_s, all));
}

bool Scheduler::BatchDecodes(const BatchPlan& plan, absl::Span<Sequence* const> rows) {
  if (rows.empty() || plan.decode_others == 0 || !step_time_.known() || windows_.enabled()) return true;
  // Where steps overlap, each takes the rows that have waited longest: one at rest would keep out another's.
  if (overlapped_steps_ > 1) return true;
  // Its blocks come free as soon as if it never rested.
  if (no_room_ && MostUrgentWaiting(/*start_new=*/true) != Priority::kBatch) return true;
  double others_context = 0, context = 0;
  for (const PlanEntry& entry : plan.entries) {
    if (!OfBatch(*entry.sequence)) others_context += entry.start;
  }
  for (const Sequence* sequence : rows) context += sequence->scheduled;
  const double rows_s = step_time_.sequence_s * static_cast<double>(rows.size()) + step_time_.context_token_s * context;
  return rows_time_.Take(kRowsShare * step_time_.Seconds(plan.decode_others, others_context, 0), rows_s);
}

int32_t Scheduler::BatchTokens(const BatchPlan& plan) {
  const int32_t all = options_.max_batch_tokens;
  // Asked anew: since BatchRows looked, this plan may have started others.
  const bool others = std::any_of(running_.begin(), running_.end(), [](const Sequence* sequence) {
    return !OfBatch(*sequence) && !sequence->owner->paused();
  });
  if (!others || !step_time_.known()) return all;
  const double decode_s = step_time_.Seconds(plan.decode_entries, static_cast<double>(plan.decode_context_tokens), 0);
  const double granted_s = kChunkShare * decode_s;
  // The others' prompts in the plan grant nothing: their steps are the longest already.
  const auto fitted = [&](double share) -> double {
    const double spare_s = std::max(0.0, share * decode_s - step_time_.sequence_s);
    return spare_s >= step_time_.prefill_token_s * all ? all : spare_s / step_time_.prefill_token_s;
  };
  const double tokens = std::clamp(chunk_cost_.TokensFor(granted_s), fitted(kChunkShare), fitted(kMostChunkShare));
  if (plan.entries.empty()) return static_cast<int32_t>(std::max(1.0, tokens));  // something goes on
  if (plan.decode_others > 0 && plans_ % kTryWithout == 0) return 0;
  if (tokens >= 1) return static_cast<int32_t>(tokens);
  return chunks_time_.Take(granted_s, step_time_.sequence_s + step_time_.prefill_token_s) ? 1 : 0;
}

}  // namespace hadal::engine
