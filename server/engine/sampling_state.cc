// SPDX-License-Identifier: Apache-2.0
#include "server/engine/sampling_state.h"

namespace hadal::engine {

SamplingState::SamplingState(const request::Request& request, int32_t choice, int32_t vocab_size)
    : top_logprobs_(request.top_logprobs), min_tokens_(request.min_tokens) {
  auto params = std::make_shared<models::SamplingParams>(request.sampling);
  params->seed += static_cast<uint64_t>(choice);
  params_ = std::move(params);
  for (const int32_t token : request.stop_token_ids) {
    if (token >= 0 && token < vocab_size) end_tokens_.push_back(token);
  }
  if (!params_->HasPenalties()) return;
  // The prompt matters to the repetition penalty only.
  if (params_->repetition_penalty != 1.0f) {
    for (const int32_t token : request.prompt) Touch(token, /*in_prompt=*/true);
  }
}

void SamplingState::Touch(int32_t token_id, bool in_prompt) {
  const auto [it, inserted] = penalty_index_.try_emplace(token_id, penalties_.size());
  if (inserted) penalties_.push_back({token_id, 0, in_prompt});
  if (!in_prompt) ++penalties_[it->second].output_count;
}

void SamplingState::OnToken(int32_t token_id) {
  if (params_->HasPenalties()) Touch(token_id, /*in_prompt=*/false);
}

void SamplingState::FillRow(int32_t position, int32_t produced, models::SampleRow& row) const {
  row.params = params_;
  row.random_counter = static_cast<uint64_t>(position);
  row.top_logprobs = top_logprobs_;
  row.penalties = penalties_;
  if (produced < min_tokens_) {
    row.forbidden_tokens = end_tokens_;
  } else {
    row.forbidden_tokens.clear();
  }
}

}  // namespace hadal::engine
