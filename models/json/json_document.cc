// SPDX-License-Identifier: Apache-2.0
#include "models/json/json_document.h"

#include <string_view>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/json_fault.h"
#include "base/json_numbers.h"
#include "base/lfs_pointer.h"

namespace hadal::json {
namespace {

using simdjson::dom::element_type;

// The parser limits the depth, the text limits the rest.
absl::Status CheckNoRepeatedKeys(simdjson::dom::element element, absl::string_view file, const std::string& path) {
  if (element.type() == element_type::ARRAY) {
    for (simdjson::dom::element item : simdjson::dom::array(element)) {
      if (item.type() != element_type::OBJECT && item.type() != element_type::ARRAY) continue;
      if (absl::Status status = CheckNoRepeatedKeys(item, file, path); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  if (element.type() != element_type::OBJECT) return absl::OkStatus();
  absl::flat_hash_set<std::string_view> seen;
  for (simdjson::dom::key_value_pair field : simdjson::dom::object(element)) {
    if (!seen.insert(field.key).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ": ", path, QuoteForError(ToAbsl(field.key)), ": expected each key once, found it twice"));
    }
    if (field.value.type() != element_type::OBJECT && field.value.type() != element_type::ARRAY) continue;
    absl::Status status =
        CheckNoRepeatedKeys(field.value, file, absl::StrCat(path, QuoteForError(ToAbsl(field.key)), "."));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<JsonDocument>> JsonDocument::Parse(absl::string_view text, absl::string_view file,
                                                                  const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": expected at most ", limits.max_bytes, " bytes, found ", text.size()));
  }
  auto document = std::unique_ptr<JsonDocument>(new JsonDocument());
  document->file_ = std::string(file);
  document->text_ = simdjson::padded_string(ToStd(text));
  if (document->parser_.allocate(text.size(), limits.max_depth) != simdjson::SUCCESS) {
    return absl::ResourceExhaustedError(absl::StrCat(file, ": no memory for parsing ", text.size(), " bytes of JSON"));
  }
  simdjson::error_code error = document->parser_.parse(document->text_).get(document->root_);
  if (error == simdjson::NUMBER_ERROR) {
    document->text_ = simdjson::padded_string(base::WidenJsonNumbers(ToStd(text)));
    error = document->parser_.parse(document->text_).get(document->root_);
  }
  if (error != simdjson::SUCCESS) {
    if (base::IsLfsPointer(ToStd(text))) {
      return absl::InvalidArgumentError(absl::StrCat(file, ": expected JSON, found ", base::kLfsPointerAdvice));
    }
    // Nesting beyond the limit is no fault of the text: the parser's message remains.
    const std::string fault = base::DescribeJsonFault(ToStd(text));
    absl::string_view place = fault;
    if (!absl::StrContains(text, '\n')) absl::ConsumePrefix(&place, "line 1, ");  // it may be a line of a longer file
    return absl::InvalidArgumentError(absl::StrCat(
        file, ": not valid JSON: ", place.empty() ? absl::string_view(simdjson::error_message(error)) : place));
  }
  if (!document->root_.is_object()) return document->root().Expected("an object");
  if (limits.repeated_keys) return document;
  if (absl::Status status = CheckNoRepeatedKeys(document->root_, file, ""); !status.ok()) return status;
  return document;
}

}  // namespace hadal::json
