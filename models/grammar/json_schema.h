// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "models/grammar/schema_limits.h"

namespace hadal::grammar {

enum class SchemaDialect {
  // What output can be constrained to exactly: type, enum, const, anyOf, oneOf of branches that exclude each other,
  // allOf of one, $ref into $defs, properties, required, additionalProperties, items, prefixItems, minItems, maxItems,
  // pattern, format, minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf of integers. Annotations are
  // ignored.
  kGeneral,
  // Strict tools, as the hosted API defines them: of the above, objects whose properties are all required and that
  // allow no others; no array lengths, no prefixItems, no allOf and oneOf; the formats email, hostname, ipv4, ipv6,
  // uuid.
  kStrictTool,
};

// Checks a JSON Schema and rewrites it to the form that the compiler gets: annotations dropped, defaults written out
// (additional properties are allowed only where the schema says so or names none), definitions renamed. Every output
// that follows the result is valid under the schema. InvalidArgument begins with the place as a JSON pointer,
// "#/properties/age/multipleOf: ...", and names the limit or what is supported.
absl::StatusOr<std::string> PrepareSchema(std::string_view schema_json, SchemaDialect dialect,
                                          const SchemaLimits& limits = {});

struct RelaxedSchema {
  std::string prepared;  // as PrepareSchema gives it
  bool partial = false;  // something of the schema is not enforced
};

// The arguments of a tool that is not strict, under any JSON Schema: what PrepareSchema would refuse is left out where
// the rest still says something, or the part keeps its type alone. Every object that is valid under the schema stays
// possible, but for properties that an object neither names nor allows. InvalidArgument only for a text that is not
// JSON.
absl::StatusOr<RelaxedSchema> RelaxSchema(std::string_view schema_json, const SchemaLimits& limits = {});

}  // namespace hadal::grammar
