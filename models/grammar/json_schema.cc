// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/json_schema.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "models/grammar/schema_reader.h"

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
  return Written(*prepared);
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
  return RelaxedSchema{Written(*prepared), reader.partial()};
}

}  // namespace hadal::grammar
