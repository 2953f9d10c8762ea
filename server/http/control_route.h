// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "server/http/unary_handler.h"

namespace hadal::http {

// POST /v1/chat/completions/{id}/control with {"action": "reasoning_end"}, and llama.cpp's form of it,
// /v1/chat/completions/control with {"id", "action"}: ends the reasoning of a running request of the same tenant that
// was sent with `reasoning_control`. The id is that of its response. A UnaryAnswer.
absl::Status EndThinking(const UnaryContext& context, RequestBody* body, Response* response);

}  // namespace hadal::http
