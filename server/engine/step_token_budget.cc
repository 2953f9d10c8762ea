// SPDX-License-Identifier: Apache-2.0
#include "server/engine/step_token_budget.h"

#include <algorithm>

#include "absl/time/time.h"

namespace hadal::engine {
namespace {

// A few tokens say little of what one costs.
constexpr int32_t kMinPromptTokens = 16;
constexpr double kWeight = 0.1;  // of the last step in the moving average
// A step that took many times longer than foreseen (a page fault, a neighbour) counts as so many times.
constexpr double kMaxSurprise = 3;

}  // namespace

void StepTokenBudget::Record(const BatchPlan& plan, double seconds, const admission::StepTime& time) {
  time_ = time;
  if (plan.prefill_tokens < kMinPromptTokens) return;
  const double decode_s = time.Seconds(plan.decode_entries, static_cast<double>(plan.decode_context_tokens), 0);
  double cost = std::max(0.0, seconds - decode_s) / plan.prefill_tokens;
  if (prompt_token_s_ > 0) {
    cost = prompt_token_s_ + kWeight * (std::min(cost, kMaxSurprise * prompt_token_s_) - prompt_token_s_);
  }
  prompt_token_s_ = cost;
}

int32_t StepTokenBudget::Limit(int32_t decoding_sequences, int64_t context_tokens) const {
  // A lone prompt stalls nobody, and its chunks are the same each time.
  if (decoding_sequences == 0 || options_.step_time_target <= absl::ZeroDuration() || prompt_token_s_ <= 0) {
    return options_.max_batch_tokens;
  }
  const double decode_s = time_.Seconds(decoding_sequences, static_cast<double>(context_tokens), 0);
  const double prompts_s = std::max(absl::ToDoubleSeconds(options_.step_time_target) - decode_s, decode_s);
  const double limit = decoding_sequences + std::max<double>(kMinPromptTokens, prompts_s / prompt_token_s_);
  return static_cast<int32_t>(std::min<double>(options_.max_batch_tokens, limit));
}

}  // namespace hadal::engine
