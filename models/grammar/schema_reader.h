// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/grammar/json_schema.h"

namespace hadal::grammar {

using Json = nlohmann::ordered_json;

// Reads one schema: each method checks a part and gives it back rewritten (see PrepareSchema). One use.
class SchemaReader {
 public:
  // What happens where a schema is refused: the whole is, or the part is relaxed (see RelaxSchema).
  enum class Refusals { kReport, kRelax };

  SchemaReader(SchemaDialect dialect, const SchemaLimits& limits, Refusals refusals = Refusals::kReport)
      : dialect_(dialect), limits_(limits), relax_(refusals == Refusals::kRelax) {}

  absl::StatusOr<Json> ReadRoot(const Json& root);
  // Whether something was relaxed.
  bool partial() const { return partial_; }

 private:
  using Result = absl::StatusOr<Json>;

  Result Read(const Json& schema, const std::string& place, int depth);
  Result ReadExactly(const Json& schema, const std::string& place, int depth);
  Result ReadReference(const Json& schema, const std::string& place);
  Result ReadValues(const Json& schema, const std::string& place);                                    // enum, const
  Result ReadBranches(const Json& schema, const char* keyword, const std::string& place, int depth);  // anyOf, oneOf
  Result ReadTyped(const Json& schema, const std::string& place, int depth);
  absl::Status ReadObject(const Json& schema, const std::string& place, int depth, Json* out);
  // "additionalProperties"; `by_default` without it.
  Result ReadAdditional(const Json& schema, const std::string& place, int depth, bool by_default);
  absl::Status ReadArray(const Json& schema, const std::string& place, int depth, Json* out);
  // The schemas of the first items, under `keyword`; `closed`: others may not follow.
  absl::Status ReadTuple(const Json& schema, const char* keyword, bool closed, const std::string& place, int depth,
                         Json* out);
  absl::Status ReadString(const Json& schema, const std::string& place, Json* out);
  // "pattern" and "format" of a string, which take from its `lengths` what they say themselves.
  struct Lengths;
  absl::Status ReadPattern(const Json& schema, const std::string& place, Lengths* lengths, Json* out);
  absl::Status ReadFormat(const Json& schema, const std::string& place, Lengths* lengths, Json* out) const;
  absl::Status ReadNumber(const Json& schema, const std::string& place, bool integer, Json* out);

  absl::Status CheckKeywords(const Json& schema, const std::string& place,
                             std::initializer_list<std::string_view> allowed) const;
  absl::Status CheckTypedKeywords(const Json& schema, const Json& types, const std::string& place) const;
  bool IsDefinitions(const Json& schema, std::string_view keyword) const;
  absl::Status CheckOneOf(const Json& branches, const std::string& place) const;
  absl::Status Count(int* counter, int64_t add, int limit, std::string_view what, const std::string& place) const;
  bool strict() const { return dialect_ == SchemaDialect::kStrictTool; }

  const SchemaDialect dialect_;
  const SchemaLimits limits_;
  const bool relax_;
  bool partial_ = false;
  const Json* root_ = nullptr;
  std::map<std::string, std::string> definitions_;  // reference as written -> name in the output
  int schemas_ = 0, properties_ = 0, values_ = 0, references_ = 0, pattern_states_ = 0, multiples_ = 0;
  int unique_ = 0;
};

absl::Status SchemaError(const std::string& place, std::string_view message);
// "#/a/b" and a key: "#/a/b/key", escaped as JSON pointers are.
std::string Place(const std::string& place, std::string_view key);
bool IsAnnotation(std::string_view keyword);
// Whether a keyword of the schema has a value that excludes nothing, as generators of schemas write it: the format of a
// number (int32, double), the names of a record's properties (any string), uniqueItems of false; also a "nullable" that
// TypeList has read.
bool AllowsAll(const Json& schema, std::string_view keyword);
// Where definitions may stand, at the root.
inline constexpr std::string_view kDefinitionGroups[] = {"$defs", "$def", "definitions"};
bool IsDefinitionGroup(std::string_view keyword);

// The schema's "type" as a list, with "null" where OpenAPI's "nullable" says so; empty without one.
Json TypeList(const Json& schema);
// Whether `type` is the name of a type of JSON Schema.
bool IsTypeName(const Json& type);
// The type of value that a keyword of ReadTyped is about: "object", "array", "string" or "number"; "" for others.
std::string_view TypeOfKeyword(std::string_view keyword);

// The schema without the keywords that would be refused next to the others. What is left allows more.
Json LooseSchema(const Json& schema);
// What allows every value of the schema's types.
Json TypesOf(const Json& schema);

// Errors of a whole, rewritten schema: a reference that leads back to itself without an object or array between, or a
// schema that no finite value satisfies.
absl::Status CheckRecursion(const Json& schema, const std::map<std::string, std::string>& definitions);

}  // namespace hadal::grammar
