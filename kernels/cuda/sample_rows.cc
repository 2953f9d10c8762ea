// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/sample_rows.h"

#include <algorithm>

namespace hadal::kernels::cuda {

bool SampleRows::Repeated(int32_t id) {
  if (seen_in_[id] == list_) return true;
  seen_in_[id] = list_;
  return false;
}

void SampleRows::Build(absl::Span<const SampleRowParams> rows, int64_t vocab) {
  rows_.clear();
  tokens_.clear();
  mask_words_.clear();
  seen_in_.assign(static_cast<size_t>(vocab), 0);
  list_ = 0;
  for (const SampleRowParams& in : rows) {
    SampleRow row = {};
    row.temperature = in.temperature;
    row.top_p = in.top_p;
    row.min_p = in.min_p;
    row.repetition_penalty = in.repetition_penalty;
    row.frequency_penalty = in.frequency_penalty;
    row.presence_penalty = in.presence_penalty;
    row.top_k = in.top_k;
    row.target_token = in.target_token;
    row.top_logprobs = in.top_logprobs;
    row.seed = in.seed;
    row.random_counter = in.random_counter;
    row.first_penalty = static_cast<int64_t>(tokens_.size());
    row.penalties = static_cast<int64_t>(in.penalties.size());
    ++list_;
    for (const SamplePenalty& penalty : in.penalties) {
      if (Repeated(penalty.token_id)) row.in_order = 1;
      tokens_.push_back({penalty.token_id, penalty.output_count, penalty.in_prompt ? 1 : 0, 0.0f});
    }
    row.first_bias = static_cast<int64_t>(tokens_.size());
    row.biases = static_cast<int64_t>(in.biases.size());
    ++list_;
    for (const SampleBias& bias : in.biases) {
      if (Repeated(bias.token_id)) row.in_order = 1;
      tokens_.push_back({bias.token_id, 0, 0, bias.bias});
    }
    row.first_mask_word = in.allowed_mask.empty() ? -1 : static_cast<int64_t>(mask_words_.size());
    if (!in.allowed_mask.empty()) {
      const int64_t words = (vocab + 31) / 32;  // the span may be longer
      mask_words_.insert(mask_words_.end(), in.allowed_mask.begin(), in.allowed_mask.begin() + words);
    }
    rows_.push_back(row);
  }
}

}  // namespace hadal::kernels::cuda
