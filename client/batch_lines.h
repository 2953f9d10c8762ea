// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "client/client.h"

namespace hadal::client {

// A line of a batch's file, with its end. Each line of a file needs a `custom_id` of its own, by which its result is
// found. Texts are UTF-8.

// `body`: what the endpoint takes, a JSON object without line ends.
std::string BatchLine(std::string_view custom_id, std::string_view endpoint, std::string_view body);
// For the endpoint /v1/chat/completions. What concerns the call alone (priority, deadline, trace, reasoning_control,
// and how the server treats it) does not count.
std::string BatchLine(std::string_view custom_id, const ChatOptions& options);
// For /v1/completions; `echo_logprobs` also puts the prompt's text in front of the answer's.
std::string BatchLine(std::string_view custom_id, const CompletionOptions& options);

}  // namespace hadal::client
