// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/json_schema.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "models/grammar/schema_reader.h"
#include "models/grammar/string_slots.h"

namespace hadal::grammar {
namespace {

// Deepest nesting of brackets, whatever stands between them; strings are skipped. The parser is recursive.
int BracketDepth(std::string_view json) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

std::string Written(const Json& schema) {
  return schema.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

// What stands against the lengths of strings in a schema of parameters that are text.
absl::Status CheckTextLengths(const std::string& prepared, const SchemaLimits& limits) {
  if (limits.string_lengths != SchemaLimits::Lengths::kDsml) return absl::OkStatus();
  const auto slotted =
      TakeSlots(absl::StrCat(R"({"type":"json_schema","style":"deepseek_xml","json_schema":)", prepared, "}"));
  return slotted.ok() ? absl::OkStatus() : SchemaError("#", std::string(slotted.status().message()));
}

}  // namespace

absl::StatusOr<std::string> PrepareSchema(std::string_view schema_json, SchemaDialect dialect,
                                          const SchemaLimits& limits) {
  if (static_cast<int64_t>(schema_json.size()) > limits.max_bytes) {
    return SchemaError(
        "#", absl::StrCat("the schema has ", schema_json.size(), " bytes; at most ", limits.max_bytes, " are allowed"));
  }
  // A level of schemas takes at most two of brackets, and values of enums some.
  if (BracketDepth(schema_json) > 4 * limits.max_depth) {
    return SchemaError("#", absl::StrCat("schemas are nested more than ", limits.max_depth, " deep"));
  }
  const Json schema = Json::parse(schema_json, nullptr, /*allow_exceptions=*/false);
  if (schema.is_discarded()) return SchemaError("#", "the schema is not valid JSON");
  absl::StatusOr<Json> prepared = SchemaReader(dialect, limits).ReadRoot(schema);
  if (!prepared.ok()) return prepared.status();
  std::string written = Written(*prepared);
  if (absl::Status status = CheckTextLengths(written, limits); !status.ok()) return status;
  return written;
}

absl::StatusOr<RelaxedSchema> RelaxSchema(std::string_view schema_json, const SchemaLimits& limits) {
  const RelaxedSchema any{R"({"type":"object","additionalProperties":true})", true};
  if (static_cast<int64_t>(schema_json.size()) > limits.max_bytes || BracketDepth(schema_json) > 4 * limits.max_depth) {
    return any;
  }
  const Json schema = Json::parse(schema_json, nullptr, /*allow_exceptions=*/false);
  if (schema.is_discarded()) return SchemaError("#", "the schema is not valid JSON");
  SchemaReader reader(SchemaDialect::kGeneral, limits, SchemaReader::Refusals::kRelax);
  absl::StatusOr<Json> prepared = reader.ReadRoot(schema);
  // Arguments are an object, whatever is left of their schema.
  if (!prepared.ok()) return any;
  const bool may_be_object = prepared->contains("type") ? (*prepared)["type"] == "object"
                                                        : prepared->contains("$ref") || prepared->contains("anyOf");
  if (!may_be_object) return any;
  RelaxedSchema relaxed{Written(*prepared), reader.partial()};
  if (CheckTextLengths(relaxed.prepared, limits).ok()) return relaxed;
  SchemaLimits without = limits;
  without.string_lengths = SchemaLimits::Lengths::kNone;
  return RelaxSchema(schema_json, without);
}

}  // namespace hadal::grammar
