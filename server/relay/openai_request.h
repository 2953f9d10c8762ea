// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/service/calls.h"

namespace hadal::relay {

// A call in the form in which another server is asked: OpenAI's, always streamed and with its usage at the end. Fields
// that OpenAI does not have are named as by vLLM and the HTTP API of this server, and written only where they are set.
struct OpenAiRequest {
  std::string_view path;  // "/chat/completions" or "/completions", below the base URL
  std::string body;
};

// `model`: its name for the other server. UNSUPPORTED for what the answer could not hold in that form: token ids,
// log-probabilities (they name tokens by their ids), scored prompts, choices and regular expressions as a format, and
// an answer of no tokens. INVALID_REQUEST names a field whose text is not the JSON that it must be.
absl::StatusOr<OpenAiRequest> EncodeOpenAi(const service::ChatCall& call, std::string_view model);
absl::StatusOr<OpenAiRequest> EncodeOpenAi(const service::GenerateCall& call, std::string_view model);

}  // namespace hadal::relay
