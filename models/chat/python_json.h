// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace hadal::chat {

// Rewrites JSON the way Python's json.dumps(ensure_ascii=False) does: ", " and ": " between values, keys in given
// order, no other escapes than needed. Models were trained on prompts with tool schemas in this form. Numbers that 64
// bits cannot hold become doubles. InvalidArgument for bad JSON.
absl::StatusOr<std::string> ToPythonJson(std::string_view json);

// Whether the text is one JSON value, in the limits of the above.
bool IsJson(std::string_view text);

// A string in that form, with its quotes.
std::string PythonJsonString(std::string_view text);

// What stands between the quotes: pieces of a text, escaped one by one and joined, give the whole text escaped.
void AppendPythonJsonEscaped(std::string_view text, std::string* out);

// A member of an object: a string as its plain text, any other value as JSON in the form above.
struct JsonMember {
  std::string key;
  std::string value;
  bool is_string = false;
};
// The members in given order; of a repeated key the last value counts, at the first one's place, as in Python.
// InvalidArgument for bad JSON and for anything but an object.
absl::StatusOr<std::vector<JsonMember>> PythonJsonMembers(std::string_view json);

}  // namespace hadal::chat
