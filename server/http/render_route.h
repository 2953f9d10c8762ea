// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "server/http/unary_handler.h"

namespace hadal::http {

// POST to a generating route's path and /render: the token ids of a request and its settings with everything filled in,
// in the shape of vLLM's GenerateRequest (plain completions: a list, one for each prompt), so that a router needs no
// tokenizer of its own. The body is decoded as the generating route's, with the same errors, and freed as soon as that
// is done. A UnaryAnswer.
absl::Status Render(const UnaryContext& context, RequestBody* body, Response* response);

}  // namespace hadal::http
