// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/models/rate_subject.h"

#include <algorithm>
#include <utility>

#include "models/status_macros.h"

namespace hadal::models {

absl::StatusOr<RateSubject> RateSubject::Create(std::unique_ptr<Model> model, int32_t sequences, int32_t tokens,
                                                int32_t longest) {
  const KvLayout layout = model->kv_layout();
  RateSubject subject(std::move(model), {.block_tokens = layout.round_block_tokens(kBlockTokens)});
  KvCacheSize& cache = subject.cache_;
  cache.blocks = std::max(sequences * subject.ColumnsOf(tokens), subject.ColumnsOf(longest));
  cache.window_blocks = layout.window_tokens > 0 ? cache.blocks : 0;
  HADAL_RETURN_IF_ERROR(subject.model().AllocateKvCache(cache));
  return subject;
}

StepInput RateSubject::Build(int32_t first, int32_t sequences, int32_t cached, int32_t tokens, int32_t columns,
                             bool fed) const {
  StepInput input;
  input.query_start.push_back(0);
  input.block_table_stride = columns;
  const auto greedy = std::make_shared<const SamplingParams>(SamplingParams{.temperature = 0.0f});
  for (int32_t s = first; s < first + sequences; ++s) {
    for (int32_t i = 0; i < tokens; ++i) {
      const int32_t position = cached + i;
      const int64_t block = int64_t{s} * columns + position / cache_.block_tokens;
      const int64_t id = (int64_t{s} * 104729 + int64_t{position} * 7919) % model_->info().vocab_size;
      input.token_ids.push_back(fed ? FedToken(s - first) : static_cast<int32_t>(id));
      input.positions.push_back(position);
      input.slot_mapping.push_back(block * cache_.block_tokens + position % cache_.block_tokens);
    }
    for (int32_t b = 0; b < columns; ++b) input.block_tables.push_back(s * columns + b);
    input.query_start.push_back(input.tokens());
    input.context_lens.push_back(cached + tokens);
    SampleRow& row = input.samples.emplace_back();
    row.token_index = input.tokens() - 1;
    row.params = greedy;
  }
  if (cache_.window_blocks > 0) {
    input.window_slot_mapping = input.slot_mapping;
    input.window_block_tables = input.block_tables;
  }
  return input;
}

absl::Status RateSubject::Wait(StepHandle handle) {
  HADAL_ASSIGN_OR_RETURN(const StepOutput output, model_->Wait(handle));
  for (const SampleResult& sample : output.samples) {
    if (sample.faulty) return absl::InternalError("logits held NaN");
  }
  return absl::OkStatus();
}

absl::Status RateSubject::Run(StepInput input) {
  HADAL_ASSIGN_OR_RETURN(const StepHandle handle, model_->Launch(std::move(input)));
  return Wait(handle);
}

absl::Status RateSubject::Fill(int32_t sequences, int32_t tokens, int32_t columns, int32_t most) {
  for (int32_t s = 0; s < sequences; ++s) {
    for (int32_t done = 0; done < tokens; done += most) {
      HADAL_RETURN_IF_ERROR(Run(Build(s, 1, done, std::min(most, tokens - done), columns, false)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<double> RateSubject::Decode(int32_t sequences, int32_t cached, int32_t steps, int32_t columns,
                                           StepTimes* times) {
  const auto launch = [&](int32_t i) {
    StepInput input = Build(0, sequences, cached + i, 1, columns, /*fed=*/i > 0);
    const RateClock::time_point called = RateClock::now();
    absl::StatusOr<StepHandle> handle = model_->Launch(std::move(input));
    if (i > kSettlingSteps) times->launches_s.push_back(Seconds(called));
    return handle;
  };
  RateClock::time_point begin = RateClock::now(), last = begin;
  HADAL_ASSIGN_OR_RETURN(StepHandle ahead, launch(0));
  for (int32_t i = 1; i <= kSettlingSteps + steps; ++i) {
    StepHandle next = ahead;
    if (i < kSettlingSteps + steps) {
      HADAL_ASSIGN_OR_RETURN(next, launch(i));
    }
    HADAL_RETURN_IF_ERROR(Wait(ahead));
    ahead = next;
    if (i > kSettlingSteps) times->gaps_s.push_back(Seconds(last));
    last = RateClock::now();
    if (i == kSettlingSteps) begin = last;
  }
  return Seconds(begin);
}

absl::StatusOr<std::vector<double>> RateSubject::Prefill(int32_t tokens, int rounds) {
  std::vector<double> seconds;
  for (int round = -1; round < rounds; ++round) {
    StepInput input = Build(0, 1, 0, tokens, ColumnsOf(tokens), /*fed=*/false);
    const RateClock::time_point begin = RateClock::now();
    HADAL_RETURN_IF_ERROR(Run(std::move(input)));
    if (round >= 0) seconds.push_back(Seconds(begin));
  }
  return seconds;
}

}  // namespace hadal::models
