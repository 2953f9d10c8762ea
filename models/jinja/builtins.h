// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/types/span.h"
#include "models/jinja/runtime.h"

// Filters, tests, methods and functions, by name.
namespace hadal::jinja {

bool IsFilter(std::string_view name);
bool IsTest(std::string_view name);
bool IsFunction(std::string_view name);

Value ApplyFilter(Runtime* run, std::string_view name, const Value& input, const CallArguments& arguments);
bool ApplyTest(Runtime* run, std::string_view name, const Value& value, const CallArguments& arguments);
Value CallFunction(Runtime* run, std::string_view name, const CallArguments& arguments);

// Methods of str, dict, list and loop. One that would change a value exists, and fails when it is called, as in the
// sandbox of transformers.
bool HasMethod(const Value& receiver, std::string_view name);
// `name` must be a method of the receiver.
Value CallMethod(Runtime* run, const Value& receiver, std::string_view name, const CallArguments& arguments);
Value BindMethod(const Value& receiver, std::string_view name);

// The tables behind them.
struct NamedFilter {
  std::string_view name;
  Value (*apply)(Runtime* run, const Value& input, const CallArguments& arguments);
};
absl::Span<const NamedFilter> TextFilters();
absl::Span<const NamedFilter> ListFilters();
absl::Span<const NamedFilter> SelectionFilters();
absl::Span<const NamedFilter> TextMethods();

}  // namespace hadal::jinja
