// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "server/http/unary_handler.h"

namespace hadal::http {

// UnaryAnswers. POST /tokenize and /detokenize.
absl::Status Tokenize(const UnaryContext& context, RequestBody* body, Response* response);
absl::Status Detokenize(const UnaryContext& context, RequestBody* body, Response* response);
// POST /v1/messages/count_tokens: as many as a call of the same body would take as its prompt.
absl::Status CountTokens(const UnaryContext& context, RequestBody* body, Response* response);
// POST /v1/responses/input_tokens: the same for responses.
absl::Status InputTokens(const UnaryContext& context, RequestBody* body, Response* response);

}  // namespace hadal::http
