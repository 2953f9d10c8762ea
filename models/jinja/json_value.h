// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "models/jinja/value.h"

namespace hadal::jinja {

// JSON as Python reads it: key order kept, of a repeated key the last value at the first one's place, texts marked as
// `input`. InvalidArgument for bad JSON, more than 128 levels, or a number beyond 64 bits.
absl::StatusOr<Value> FromJson(std::string_view json, bool input);

}  // namespace hadal::jinja
