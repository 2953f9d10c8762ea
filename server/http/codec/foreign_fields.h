// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/service/calls.h"

namespace simdjson::dom {
class element;
}  // namespace simdjson::dom

namespace hadal::http {

// Fields by which other servers (vLLM, SGLang, llama.cpp, NIM, OpenAI's first functions) constrain an answer, or change
// the prompt or the form of the response. One that is dropped shows only as a wrong answer, so none is: JSON schemas,
// regular expressions and choices become a response format, the others are INVALID_REQUEST by name. Empty values ask
// for nothing. False for a field that is none of them.
absl::StatusOr<bool> ReadForeignConstraint(std::string_view name, const simdjson::dom::element& value,
                                           service::ResponseFormat* format);

// A JSON schema that is written as an object, or as its text.
absl::Status ReadSchemaText(const simdjson::dom::element& value, std::string_view path, std::string* out);

}  // namespace hadal::http
