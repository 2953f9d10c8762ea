// SPDX-License-Identifier: Apache-2.0
#include "server/engine/sequence.h"

#include <algorithm>

namespace hadal::engine {

Sequence::Sequence(ActiveRequest* request, int32_t choice_index, int32_t vocab_size)
    : owner(request),
      choice(choice_index),
      prompt_tokens(static_cast<int32_t>(request->request->prompt.size())),
      max_tokens(request->request->max_tokens),
      order(request->order + static_cast<uint64_t>(choice_index)),
      tokens(request->request->prompt),
      sampling(*request->request, choice_index, vocab_size),
      constraint(request->request->grammar != nullptr ? request->request->grammar->Start() : nullptr) {}

bool Sequence::scoring() const { return choice == 0 && owner->request->prompt_logprobs && scored < prompt_tokens - 1; }

bool ActiveRequest::holds_blocks() const {
  return std::any_of(choices.begin(), choices.end(),
                     [](const auto& choice) { return choice->state == SequenceState::kRunning; });
}

}  // namespace hadal::engine
