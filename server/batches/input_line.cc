// SPDX-License-Identifier: Apache-2.0
#include "server/batches/input_line.h"

#include <simdjson.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "models/json/json_document.h"
#include "server/base/strings.h"

namespace hadal::batches {
namespace {

absl::Status CheckField(const json::JsonField& root, std::string_view key, std::string_view wanted) {
  const absl::StatusOr<std::string_view> text = root.StringAt(key);
  if (!text.ok()) return text.status();
  if (*text == wanted) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(root.PathOf(key), ": expected '", base::View(wanted), "', found '",
                                                 base::View(text->substr(0, 64)), "'"));
}

}  // namespace

absl::StatusOr<InputLine> ParseInputLine(std::string_view text, int64_t number, std::string_view endpoint) {
  const json::JsonLimits limits = {.max_depth = 128, .repeated_keys = true};
  const absl::StatusOr<std::unique_ptr<json::JsonDocument>> document =
      json::JsonDocument::Parse(base::View(text), absl::StrCat("line ", number), limits);
  if (!document.ok()) return document.status();
  const json::JsonField root = (*document)->root();
  const absl::StatusOr<std::string_view> custom_id = root.StringAt("custom_id");
  if (!custom_id.ok()) return custom_id.status();
  if (custom_id->empty() || custom_id->size() > kMaxCustomIdBytes) {
    return absl::InvalidArgumentError(absl::StrCat(root.PathOf("custom_id"), ": expected 1 to ", kMaxCustomIdBytes,
                                                   " bytes, found ", custom_id->size()));
  }
  if (absl::Status status = CheckField(root, "method", "POST"); !status.ok()) return status;
  if (absl::Status status = CheckField(root, "url", endpoint); !status.ok()) return status;
  const absl::StatusOr<json::JsonField> body = root.Get("body");
  if (!body.ok()) return body.status();
  const absl::StatusOr<simdjson::dom::object> object = body->Object();
  if (!object.ok()) return object.status();
  return InputLine{std::string(*custom_id), simdjson::minify(*object)};
}

}  // namespace hadal::batches
