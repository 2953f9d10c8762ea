// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "models/jinja/runtime.h"

namespace hadal::jinja {

// Python's repr of a float: shortest digits, exponent form below 1e-4 and from 1e16 on.
std::string FloatRepr(double value);

// Appends Python's str() of the value: text as it is, containers with the repr of what they hold.
void AppendStr(Runtime* run, const Value& value, MarkedText* out);
void AppendRepr(Runtime* run, const Value& value, MarkedText* out, int depth = 0);
Value Str(Runtime* run, const Value& value);

struct JsonOptions {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool has_indent = false;
  std::string indent;  // of one level
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
// json.dumps as transformers gives it to templates. Fails for values that are no JSON.
void AppendJson(Runtime* run, const Value& value, const JsonOptions& options, MarkedText* out, int depth = 0);

// `format % values` and format.format(...), as far as templates use them: see the .cc file.
Value FormatPercent(Runtime* run, const MarkedText& format, const Value& values);
Value FormatBraces(Runtime* run, const MarkedText& format, const CallArguments& arguments);

}  // namespace hadal::jinja
