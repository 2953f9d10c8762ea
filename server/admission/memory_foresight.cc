// SPDX-License-Identifier: Apache-2.0
#include "server/admission/memory_foresight.h"

#include <algorithm>
#include <cmath>

namespace hadal::admission {

void MemoryForesight::Renew(const OutputLengths& lengths, double deviations,
                            const std::vector<RunningSequence>& running) {
  base::MutexLock lock(&mutex_);
  for (const bool thinking : {false, true}) {
    for (size_t i = 0; i < request::kNumPriorities; ++i) {
      Kind& kind = kinds_[thinking][i];
      kind.lengths = lengths.For(static_cast<request::Priority>(i), thinking).Curve();
      kind.longest = kind.lengths.RemainingQuantile(0, kLongQuantile);
    }
  }
  portfolio_.emplace(block_tokens_, deviations);
  for (const RunningSequence& sequence : running) portfolio_->Add(AnswerOf(sequence));
  portfolio_->Finish();
}

bool MemoryForesight::IsLong(const request::Request& request) const {
  const Kind& kind = KindOf(request.priority, request.thinking);
  return portfolio_.has_value() && request.n == 1 && kind.lengths.known() &&
         std::min<double>(kind.longest, request.max_tokens) > long_tokens_;
}

bool MemoryForesight::Knows(const request::Request& request) const {
  base::MutexLock lock(&mutex_);
  return IsLong(request);
}

GrowingAnswer MemoryForesight::AnswerOf(const request::Request& request, int32_t produced, int64_t shared) const {
  const int32_t most = std::max(request.max_tokens, 1);
  const int32_t least = request.fixed_length() ? most : std::min(request.least_tokens, most);
  return {.blocks = static_cast<double>(BlocksFor(static_cast<int64_t>(request.prompt.size()) + produced) - shared),
          .produced = produced,
          .most_left = std::max(1, most - produced),
          .least_left = std::max(0, least - produced),
          .lengths = &KindOf(request.priority, request.thinking).lengths};
}

GrowingAnswer MemoryForesight::AnswerOf(const RunningSequence& sequence) const {
  // With what it shares of its prompt: others may end before it.
  GrowingAnswer answer = {.blocks = static_cast<double>(BlocksFor(sequence.context_tokens + sequence.prefill_tokens)),
                          .produced = sequence.produced,
                          .most_left = std::max(1, sequence.max_tokens - sequence.produced),
                          .lengths = &KindOf(sequence.priority, sequence.thinking).lengths};
  if (sequence.fixed_length) answer.least_left = answer.most_left;
  // As on a cold start.
  if (!answer.lengths->known()) answer.most_left = std::min((answer.most_left + 1) / 2, kColdStartTokens);
  return answer;
}

int64_t MemoryForesight::Limited(double blocks, const request::Request& request, int64_t shared) const {
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  const int64_t least = BlocksFor(prompt);
  // The last sampled token is never read back, so it needs no slot.
  const int64_t most = std::max(least, BlocksFor(prompt + std::max(request.max_tokens - 1, 0)));
  return std::clamp(static_cast<int64_t>(std::ceil(blocks)), least - shared, most - shared);
}

std::optional<int64_t> MemoryForesight::Increase(const request::Request& request, int64_t shared) const {
  base::MutexLock lock(&mutex_);
  if (!IsLong(request)) return std::nullopt;
  return Limited(portfolio_->Increase(AnswerOf(request, 0, shared)), request, shared);
}

void MemoryForesight::Add(const request::Request& request, int64_t shared) {
  base::MutexLock lock(&mutex_);
  if (!IsLong(request)) return;
  portfolio_->Add(AnswerOf(request, 0, shared));
  portfolio_->Finish();
}

std::optional<int64_t> MemoryForesight::Share(const request::Request& request, int32_t produced, int64_t shared) const {
  base::MutexLock lock(&mutex_);
  if (!IsLong(request)) return std::nullopt;
  return Limited(portfolio_->Share(AnswerOf(request, produced, shared)), request, shared);
}

}  // namespace hadal::admission
