// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "models/model.h"
#include "server/request/request.h"

namespace hadal::engine {

// The sampler's inputs for one choice besides its logits: parameters with the choice's own seed, the penalty table, and
// the end tokens that are still forbidden. The random number of a token depends only on seed and position, so a
// sequence gets the same tokens alone, in any batch, and after preemption. Owned by the engine thread.
class SamplingState {
 public:
  // Seed: request.sampling.seed + choice. Ids at or above vocab_size are left out: no model can sample them.
  SamplingState(const request::Request& request, int32_t choice, int32_t vocab_size);

  // A token was appended to the output.
  void OnToken(int32_t token_id);
  // Whether FillRow's answer changes with the tokens that OnToken reports.
  bool depends_on_output() const { return params_->HasPenalties(); }
  // Fills everything of `row` but token_index. `position` is that of the token to be sampled; `produced` counts the
  // output tokens before it.
  void FillRow(int32_t position, int32_t produced, models::SampleRow& row) const;

 private:
  void Touch(int32_t token_id, bool in_prompt);

  std::shared_ptr<const models::SamplingParams> params_;
  int32_t top_logprobs_;
  int32_t min_tokens_;
  std::vector<int32_t> end_tokens_;              // forbidden until min_tokens_ were produced
  std::vector<models::PenaltyEntry> penalties_;  // empty unless params_->HasPenalties()
  std::unordered_map<int32_t, size_t> penalty_index_;
};

}  // namespace hadal::engine
