// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/call_additions.h"

#include <simdjson.h>

#include <algorithm>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/strings.h"

namespace hadal::bench {
namespace {

constexpr absl::string_view kOwnHeaders[] = {"host", "content-length", "content-type", "transfer-encoding",
                                             "connection"};
constexpr absl::string_view kOwnMembers[] = {
    "model",  "messages",       "prompt",     "max_tokens", "max_completion_tokens",
    "stream", "stream_options", "ignore_eos", "min_tokens"};

bool IsNameByte(char c) {
  return absl::ascii_isalnum(c) || absl::string_view("!#$%&'*+-.^_`|~").find(c) != std::string::npos;
}
bool IsValueByte(char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; }

template <typename Names>
bool Has(const Names& names, absl::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

}  // namespace

absl::StatusOr<HeaderField> ParseHeaderField(std::string_view text) {
  const size_t equals = text.find('=');
  HeaderField field;
  if (equals != std::string_view::npos) {
    field.name = absl::AsciiStrToLower(base::View(text.substr(0, equals)));
    field.value = std::string(text.substr(equals + 1));
  }
  if (field.name.empty() || !std::all_of(field.name.begin(), field.name.end(), IsNameByte) ||
      !std::all_of(field.value.begin(), field.value.end(), IsValueByte)) {
    // The value may be a key: it is not repeated.
    return absl::InvalidArgumentError(
        absl::StrCat("expected NAME=VALUE as one header line may hold them, the name is '",
                     base::View(text.substr(0, std::min(equals, text.size()))), "'"));
  }
  if (Has(kOwnHeaders, field.name)) {
    return absl::InvalidArgumentError(absl::StrCat("hadal-bench sets ", field.name, " itself"));
  }
  return field;
}

absl::StatusOr<std::string> ParseBodyMembers(std::string_view text) {
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  if (parser.parse(text.data(), text.size()).get(object)) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected a JSON object such as {\"temperature\":0}, found '", base::View(text), "'"));
  }
  for (const auto& [name, value] : object) {
    if (Has(kOwnMembers, base::View(name))) {
      return absl::InvalidArgumentError(absl::StrCat("hadal-bench sets ", absl::StrJoin(kOwnMembers, ", "),
                                                     " itself, found '", base::View(name), "'"));
    }
  }
  const std::string whole = simdjson::minify(object);
  return whole.substr(1, whole.size() - 2);
}

}  // namespace hadal::bench
