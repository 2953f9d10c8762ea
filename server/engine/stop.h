// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "server/request/request.h"
#include "server/request/token_stream.h"

namespace hadal::engine {

// Whether a choice ends with the token that was just sampled. Stop strings are not handled by the engine: the reader of
// the text ends a choice with TokenStream::StopChoice.
struct StopDecision {
  request::FinishReason reason = request::FinishReason::kNone;  // kNone: goes on
  bool deliver = true;                                          // a stop token itself is not delivered
};

// `produced` counts the output tokens with this one. A stop token wins over the length limit; before min_tokens were
// produced it does not stop (the sampler forbids it, and it is ignored if a model samples it anyway).
StopDecision CheckStop(const request::Request& request, int32_t token_id, int32_t produced);

}  // namespace hadal::engine
