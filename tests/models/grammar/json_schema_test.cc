// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/utf8.h"

namespace hadal::grammar {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Json = nlohmann::ordered_json;

Json Prepared(const std::string& schema, SchemaDialect dialect = SchemaDialect::kGeneral) {
  absl::StatusOr<std::string> prepared = PrepareSchema(schema, dialect);
  EXPECT_TRUE(prepared.ok()) << prepared.status() << " for " << schema;
  return prepared.ok() ? Json::parse(*prepared) : Json();
}

std::string Problem(const std::string& schema, SchemaDialect dialect = SchemaDialect::kGeneral,
                    const SchemaLimits& limits = {}) {
  absl::StatusOr<std::string> prepared = PrepareSchema(schema, dialect, limits);
  EXPECT_FALSE(prepared.ok()) << schema << " became " << *prepared;
  if (prepared.ok()) return "";
  EXPECT_EQ(prepared.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(prepared.status().message());
}

TEST(PrepareSchema, WritesOutDefaultsAndDropsAnnotations) {
  const Json out = Prepared(R"({"title": "T", "$id": "urn:t", "type": "object", "description": "d", "x-order": 3,
      "properties": {"b": {"type": "string", "default": "x"}, "a": {"type": "array"}}, "required": ["b"]})");
  EXPECT_EQ(out, Json::parse(
                     R"({"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "array", "items": {}}},
      "required": ["b"], "additionalProperties": false})"));
  EXPECT_EQ(out["properties"].begin().key(), "b");  // in the order of the schema
}

TEST(PrepareSchema, AnObjectThatNamesNothingIsAnyObject) {
  EXPECT_EQ(Prepared(R"({"type": "object"})")["additionalProperties"], true);
  EXPECT_EQ(Prepared(R"({"type": "object", "additionalProperties": false})")["additionalProperties"], false);
  EXPECT_EQ(Prepared(R"({"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "null"}})")
                ["additionalProperties"],
            Json::parse(R"({"type": "null"})"));
}

TEST(PrepareSchema, ResolvesReferencesOfEverySpelling) {
  const Json out =
      Prepared(R"({"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$def/b~1c"}, {"$ref": "#/definitions/x y"}],
      "$defs": {"a": {"type": "null"}}, "$def": {"b/c": {"type": "boolean"}}, "definitions": {"x y": {"type": "integer"}}})");
  ASSERT_EQ(out["anyOf"].size(), 3u);
  std::set<std::string> types;
  for (const Json& branch : out["anyOf"]) {
    const std::string reference = branch["$ref"];
    ASSERT_THAT(reference, StartsWith("#/$defs/d"));
    types.insert(out["$defs"][reference.substr(8)]["type"]);
  }
  EXPECT_EQ(types, (std::set<std::string>{"null", "boolean", "integer"}));
}

TEST(PrepareSchema, TellsRulesApartThatDifferOnlyInAPropertyCalledTitle) {
  // xgrammar takes schemas for equal that differ only under the name of an annotation.
  const Json out = Prepared(R"({"type": "array", "prefixItems": [
      {"type": "object", "properties": {"title": {"type": "string"}}},
      {"type": "object", "properties": {"title": {"type": "integer"}}}]})");
  EXPECT_NE(out["prefixItems"][0]["x-unique"], out["prefixItems"][1]["x-unique"]);
}

TEST(PrepareSchema, OneOfNeedsBranchesThatExcludeEachOther) {
  EXPECT_TRUE(Prepared(R"({"oneOf": [{"type": "string"}, {"type": "null"}]})").contains("anyOf"));
  Prepared(R"({"oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}], "$defs": {
      "a": {"type": "object", "properties": {"kind": {"const": "a"}}, "required": ["kind"]},
      "b": {"type": "object", "properties": {"kind": {"enum": ["b"]}}, "required": ["kind"]}}})");
  EXPECT_THAT(Problem(R"({"oneOf": [{"type": "integer"}, {"type": "number"}]})"),
              StartsWith("#/oneOf/1: does not exclude branch 0"));
}

TEST(PrepareSchema, PassesOverWhatExcludesNothing) {
  EXPECT_EQ(Prepared(R"({"type": "integer", "format": "uint32", "minimum": 0})"),
            Prepared(R"({"type": "integer", "minimum": 0})"));
  EXPECT_EQ(Prepared(R"({"type": ["number", "null"], "format": "double"})"),
            Prepared(R"({"type": ["number", "null"]})"));
  for (const char* what : {R"("format": "password")", R"("format": "binary")", R"("contentEncoding": "base64")",
                           R"("contentMediaType": "image/png")", R"("nullable": false)"}) {
    EXPECT_EQ(Prepared(absl::StrCat(R"({"type": "string", "maxLength": 9, )", what, "}")),
              Prepared(R"({"type": "string", "maxLength": 9})"))
        << what;
  }
  for (const char* what :
       {R"("propertyNames": {"type": "string"})", R"("propertyNames": {})", R"("propertyNames": true)",
        R"("minProperties": 0)", R"("patternProperties": {})", R"("dependentRequired": {})"}) {
    EXPECT_EQ(Prepared(absl::StrCat(R"({"type": "object", "additionalProperties": {"type": "null"}, )", what, "}")),
              Prepared(R"({"type": "object", "additionalProperties": {"type": "null"}})"))
        << what;
  }
  EXPECT_EQ(Prepared(R"({"type": "array", "uniqueItems": false})"), Prepared(R"({"type": "array"})"));
}

struct BadSchema {
  std::string schema, place, about;
};

TEST(PrepareSchema, NamesThePartThatItRefuses) {
  const BadSchema cases[] = {
      {"", "#", "not valid JSON"},
      {"[]", "#", "must be an object"},
      {"{", "#", "not valid JSON"},
      {R"({"type": "strin"})", "#/type", "\"strin\" is no type"},
      {R"({"type": []})", "#/type", "must not be empty"},
      {R"({"type": "string", "minLength": -1})", "#/minLength", "whole number of 0 or more"},
      {R"({"type": "string", "maxLength": "3"})", "#/maxLength", "whole number of 0 or more"},
      {R"({"type": "string", "maxLength": 1e300})", "#/maxLength", "whole number of 0 or more"},
      {R"({"type": "string", "minLength": 9007199254740993})", "#/minLength", "at most 9007199254740992"},
      {R"({"type": "string", "minLength": 3, "maxLength": 2})", "#/minLength", "above maxLength"},
      {R"({"type": "integer", "minLength": 3})", "#/minLength", "needs the type string"},
      {R"({"type": "string", "minLength": 11, "format": "date"})", "#/minLength", "have 10 to 10 characters"},
      {R"({"type": "string", "minLength": 7, "maxLength": 14, "format": "ipv4"})", "#/maxLength", "have 7 to 15"},
      {R"({"type": "string", "minLength": 5, "maxLength": 9, "format": "uri"})", "#/maxLength",
       "is 9; beside the format \"uri\", whose texts have at least 5 characters, it must be at least 10"},
      {R"({"type": "string", "maxLength": 4, "format": "email"})", "#/maxLength", "at least 10"},
      {R"({"type": "string", "maxLength": 30, "format": "duration"})", "#/maxLength", "beside format"},
      {R"({"type": "string", "format": "email", "pattern": "a"})", "#/pattern", "leave out one of the two"},
      {R"({"type": "string", "maxLength": 5, "pattern": "^a+b+$"})", "#/maxLength", "one class, repeated"},
      {R"({"type": "string", "maxLength": 2, "pattern": "^a{3}$"})", "#/pattern", "excludes every length"},
      {R"({"type": "string", "pattern": "^a.{1,20}$"})", "#/pattern", "must be the whole pattern"},
      {R"({"type": "object", "properties": {"a": {"type": "number", "multipleOf": 0.5}}})", "#/properties/a/multipleOf",
       "integer only"},
      {R"({"type": "integer", "multipleOf": 100000})", "#/multipleOf", "from 1 to 1000"},
      {R"({"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 6})", "#/multipleOf", "no multiple of 7"},
      {R"({"type": "integer", "multipleOf": 5, "minimum": 0})", "#/multipleOf", "less than 10000 apart"},
      {R"({"type": "integer", "multipleOf": 5, "exclusiveMaximum": 0})", "#/multipleOf", "less than 10000 apart"},
      {R"({"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 10000})", "#/multipleOf", "less than 10000"},
      {R"({"type": "integer", "minimum": 5, "maximum": 4})", "#", "lower bound is above"},
      {R"({"type": "integer", "exclusiveMinimum": 4, "maximum": 4})", "#", "lower bound is above"},
      {R"({"type": "number", "exclusiveMinimum": 4, "maximum": 4})", "#", "lower bound is above"},
      {R"({"type": "integer", "minimum": 1.5})", "#/minimum", "whole number"},
      {R"({"type": "integer", "maximum": 1e300})", "#/maximum", "2^53"},
      {R"({"type": "string", "minimum": 1})", "#/minimum", "needs the type number"},
      {R"({"type": "string", "items": {}})", "#/items", "needs the type array"},
      {R"({"minimum": 1})", "#/minimum", "without a type"},
      {R"({"type": "object", "patternProperties": {"^x": {}}})", "#/patternProperties", "not supported"},
      {R"({"type": "object", "propertyNames": {"type": "string", "maxLength": 3}})", "#/propertyNames",
       "not supported"},
      {R"({"type": "object", "propertyNames": false})", "#/propertyNames", "not supported"},
      {R"({"type": "object", "dependentRequired": {"a": ["b"]}})", "#/dependentRequired", "not supported"},
      {R"({"nullable": true})", "#/nullable", "anyOf with {\"type\": \"null\"}"},
      {R"({"$ref": "#/$defs/a", "nullable": true, "$defs": {"a": {"type": "null"}}})", "#/nullable",
       "beside a type only"},
      {R"({"type": "string", "nullable": "yes"})", "#/nullable", "not supported"},
      {R"({"oneOf": [{"type": "string", "nullable": true}, {"type": "integer", "nullable": true}]})", "#/oneOf/1",
       "does not exclude branch 0"},
      {R"({"type": ["integer", "string"], "format": "int32"})", "#/format", "\"int32\" is not supported"},
      {R"({"format": "int32"})", "#/format", "without a type"},
      {R"({"type": "object", "minProperties": 1})", "#/minProperties", "not supported"},
      {R"({"type": "array", "uniqueItems": true})", "#/uniqueItems", "not supported"},
      {R"({"type": "array", "contains": {}})", "#/contains", "not supported"},
      {R"({"type": "array", "items": {"type": "array", "items": {"not": {}}}})", "#/items/items/not", "not supported"},
      {R"({"type": "array", "minItems": 3, "maxItems": 2})", "#/minItems", "above maxItems"},
      {R"({"type": "array", "maxItems": 100000})", "#/maxItems", "at most 4096"},
      {R"({"type": "array", "maxItems": -1})", "#/maxItems", "0 or more"},
      {R"({"type": "array", "prefixItems": [{}, {}], "maxItems": 1})", "#/prefixItems", "has 2 schemas"},
      {R"({"type": "array", "items": [{}], "prefixItems": [{}]})", "#/items", "beside prefixItems"},
      {R"({"type": "array", "items": [{}, {"type": "strin"}]})", "#/items/1/type", "\"strin\" is no type"},
      {R"({"type": "array", "items": [{}], "additionalItems": {"not": {}}})", "#/additionalItems/not", "not supported"},
      {R"({"type": "array", "items": [{}], "additionalItems": false, "minItems": 2})", "#/items", "has 1 schemas"},
      {R"({"type": "string", "additionalItems": false, "items": []})", "#/additionalItems", "needs the type array"},
      {R"({"if": {}, "then": {}})", "#/if", "not supported"},
      {R"({"type": "object", "properties": {"a/b~c": {"type": "object", "dependentRequired": {"a": ["b"]}}}})",
       "#/properties/a~1b~0c/dependentRequired", "not supported"},
      {R"({"type": "object", "properties": 3})", "#/properties", "must be an object"},
      {R"({"type": "object", "properties": {"a": 3}})", "#/properties/a", "must be an object"},
      {R"({"type": "object", "required": ["a"]})", "#/required/0", "not among the properties"},
      {R"({"enum": []})", "#/enum", "not empty"},
      {R"({"enum": ["a", 0.1234567]})", "#/enum/1", "at most 6 digits behind the point; this is 0.1234567"},
      {R"({"enum": [1e-7]})", "#/enum/0", "this is 1e-07"},
      {R"({"enum": [1234567890.5]})", "#/enum/0", "below 10^9"},
      {R"({"const": [1.5]})", "#/const", "numbers inside must be whole"},
      {R"({"type": "integer", "enum": [1.5]})", "#/enum/0", "not of the type"},
      {R"({"const": 12345678901234567890})", "#/const", "2^53"},
      {R"({"type": "string", "enum": ["a", 3]})", "#/enum/1", "not of the type"},
      {R"({"enum": ["a"], "pattern": "a"})", "#/pattern", "not supported"},
      {R"({"anyOf": []})", "#/anyOf", "not empty"},
      {R"({"anyOf": [{"type": "null"}, {"type": "string", "format": "color"}]})", "#/anyOf/1/format",
       "\"color\" is not supported"},
      {R"({"anyOf": [{}], "type": "string"})", "#/type", "not supported"},
      {R"({"allOf": [{}, {}]})", "#/allOf", "more than one"},
      {R"({"type": "string", "pattern": "(?=a)b"})", "#/pattern", "(?"},
      {R"({"type": "string", "pattern": "("})", "#/pattern", ""},
      {R"({"$ref": "#/$defs/a"})", "#/$ref", "is no definition"},
      {R"({"$ref": "other.json"})", "#/$ref", "\"other.json\" is no definition"},
      {R"({"$ref": "#", "type": "object"})", "#/type", "not supported"},
      {R"({"type": "array", "items": {"$defs": {}}})", "#/items/$defs", "not supported"},
      {R"({"$ref": "#"})", "#", "refers to itself"},
      {R"({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}}})",
       "#/$defs/", "refers to itself"},
      {R"({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})", "#", "requires itself"},
      {R"({"$ref": "#/$defs/n", "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}, "minItems": 1}}})",
       "#/$defs/n", "requires itself"},
  };
  for (const BadSchema& bad : cases) {
    const std::string problem = Problem(bad.schema);
    EXPECT_THAT(problem, StartsWith(bad.place + (bad.place.ends_with('/') ? "" : ": "))) << bad.schema;
    EXPECT_THAT(problem, HasSubstr(bad.about)) << bad.schema;
  }
}

TEST(PrepareSchema, ReadsOpenApiAndOlderDrafts) {
  EXPECT_EQ(Prepared(R"({"type": "string", "nullable": true})"), Prepared(R"({"type": ["string", "null"]})"));
  EXPECT_EQ(Prepared(R"({"type": ["null", "string"], "nullable": true})"), Prepared(R"({"type": ["null", "string"]})"));
  // As OpenAPI 3.0.3 says: an enum has to name null itself.
  EXPECT_EQ(Prepared(R"({"type": "string", "nullable": true, "enum": ["a", null]})"),
            Prepared(R"({"enum": ["a", null]})"));
  EXPECT_EQ(Prepared(R"({"type": "string", "nullable": true, "enum": ["a"]})"), Prepared(R"({"enum": ["a"]})"));
  Prepared(R"({"type": "object", "properties": {"nullable": {"type": "boolean"}}, "required": ["nullable"]})");

  EXPECT_EQ(Prepared(R"({"type": "array", "items": [{"type": "null"}, {}], "additionalItems": {"type": "string"}})"),
            Prepared(R"({"type": "array", "prefixItems": [{"type": "null"}, {}], "items": {"type": "string"}})"));
  EXPECT_EQ(Prepared(R"({"type": "array", "items": [{"type": "null"}], "additionalItems": false, "minItems": 1})"),
            Prepared(R"({"type": "array", "prefixItems": [{"type": "null"}], "items": false, "minItems": 1})"));
  EXPECT_EQ(Prepared(R"({"type": "array", "items": [{"type": "null"}]})"),
            Prepared(R"({"type": "array", "prefixItems": [{"type": "null"}]})"));
  EXPECT_EQ(Prepared(R"({"type": "array", "items": {"type": "null"}, "additionalItems": false})"),
            Prepared(R"({"type": "array", "items": {"type": "null"}})"))
      << "it is about what follows a list of items";
}

TEST(PrepareSchema, NumbersOfEnumsMayHaveShortFractions) {
  EXPECT_EQ(Prepared(R"({"enum": ["a", 0.5, 2, -0.000001]})"), Json::parse(R"({"anyOf": [{"enum": ["a", 2]},
      {"type": "number", "minimum": 0.5, "maximum": 0.5}, {"type": "number", "minimum": -0.000001, "maximum": -0.000001}]})"));
  EXPECT_EQ(Prepared(R"({"const": 0.1, "type": "number"})"),
            Json::parse(R"({"type": "number", "minimum": 0.1, "maximum": 0.1})"));
  EXPECT_EQ(Prepared(R"({"enum": [1.0, [-2.0]], "type": ["integer", "array"]})"), Prepared(R"({"enum": [1, [-2]]})"));
}

TEST(PrepareSchema, CountsBesideFormatsWithoutALongestText) {
  // As pydantic writes HttpUrl.
  const Json out = Prepared(R"({"type": "string", "format": "uri", "minLength": 1, "maxLength": 2083})");
  EXPECT_EQ(out["minLength"], 5);
  EXPECT_EQ(out["maxLength"], 2083);
  EXPECT_TRUE(out.contains("pattern") && out.contains("x-endings"));
  const Json at_least = Prepared(R"({"type": "string", "format": "email", "minLength": 20})");
  EXPECT_EQ(at_least["minLength"], 20);
  EXPECT_FALSE(at_least.contains("x-endings"));
}

TEST(PrepareSchema, LengthsThatEveryTextOfAFormatHasAreKept) {
  for (const char* schema : {R"({"type": "string", "format": "date", "minLength": 10, "maxLength": 10})",
                             R"({"type": "string", "format": "uuid", "minLength": 36, "maxLength": 36})",
                             R"({"type": "string", "format": "ipv4", "minLength": 7, "maxLength": 15})",
                             R"({"type": "string", "format": "date-time", "minLength": 1, "maxLength": 64})",
                             R"({"type": "string", "format": "email", "minLength": 5})",
                             R"({"type": "string", "format": "uri", "minLength": 1})"}) {
    const Json out = Prepared(schema);
    EXPECT_TRUE(out.contains("pattern") || out.contains("format")) << schema;
    EXPECT_FALSE(out.contains("minLength") || out.contains("maxLength")) << schema;
  }
}

TEST(PrepareSchema, ProblemsAreValidUtf8HoweverTheyAreCut) {
  const std::string name = std::string(127, 'x') + "\u00e9";
  for (const std::string& schema : {R"({"$ref": ")" + name + R"("})", R"({"type": ")" + name.substr(65) + R"("})",
                                    R"({"type": "object", "properties": {")" + name + R"(": {"type": 1}}})"}) {
    const std::string problem = Problem(schema);
    EXPECT_EQ(base::FindInvalidUtf8(problem), std::string::npos) << problem;
    EXPECT_THAT(problem, HasSubstr("\uFFFD"));
  }
}

TEST(PrepareSchema, RecursionWithAnEndIsFine) {
  Prepared(R"({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "required": ["v", "next"], "properties": {
      "v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}}}})");
  Prepared(
      R"({"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}, "required": ["children"]})");
}

TEST(PrepareSchema, StrictToolsHaveTheirOwnRules) {
  constexpr auto kStrict = SchemaDialect::kStrictTool;
  Prepared(
      R"({"type": "object", "properties": {"a": {"type": "string", "format": "ipv4"}, "n": {"type": ["integer", "null"]},
      "l": {"type": "array", "items": {"$ref": "#/$def/e"}}}, "required": ["a", "n", "l"], "additionalProperties": false,
      "$def": {"e": {"anyOf": [{"enum": ["x", "y"]}, {"type": "number", "minimum": 0}]}}})",
      kStrict);
  Prepared(R"({"type": "object", "properties": {}, "additionalProperties": false})", kStrict);
  const std::string open = R"({"type": "object", "additionalProperties": false, "properties": {"a": )";
  const std::string close = R"(}, "required": ["a"]})";
  const BadSchema cases[] = {
      {R"({"type": "string"})", "#/type", "type object"},
      {R"({"type": "object", "properties": {}})", "#/additionalProperties", "must be false"},
      {R"({"type": "object", "properties": {}, "additionalProperties": true})", "#/additionalProperties",
       "must be false"},
      {R"({"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}, "required": ["a"], "additionalProperties": false})",
       "#/required", "\"b\" is missing"},
      {open + R"({"type": "object", "properties": {}})" + close, "#/properties/a/additionalProperties",
       "must be false"},
      {open + R"({"type": "array", "items": {"type": "null"}, "minItems": 1})" + close, "#/properties/a/minItems",
       "strict tools"},
      {open + R"({"type": "array"})" + close, "#/properties/a/items", "needs a schema"},
      {open + R"({"type": "string", "format": "date"})" + close, "#/properties/a/format",
       "email, hostname, ipv4, ipv6, uuid"},
      {open + R"({"allOf": [{"type": "null"}]})" + close, "#/properties/a/allOf", "strict tools"},
      {open + "{}" + close, "#/properties/a/type", "needs a type"},
      {open + "true" + close, "#/properties/a", "must be an object"},
  };
  for (const BadSchema& bad : cases) {
    EXPECT_THAT(Problem(bad.schema, kStrict), StartsWith(bad.place + ": ")) << bad.schema;
    EXPECT_THAT(Problem(bad.schema, kStrict), HasSubstr(bad.about)) << bad.schema;
  }
}

TEST(PrepareSchema, RefusesWhatIsTooLarge) {
  EXPECT_THAT(Problem(std::string(70000, ' ') + "{}"), HasSubstr("70002 bytes; at most 65536"));
  std::string deep = R"({"type": "null"})";
  for (int i = 0; i < 40; ++i) deep = R"({"type": "array", "items": )" + deep + "}";
  EXPECT_THAT(Problem(deep), HasSubstr("nested more than 32 deep"));
  EXPECT_THAT(Problem(std::string(30000, '[')), HasSubstr("nested more than 32 deep"));
  Json wide = {{"type", "object"}, {"properties", Json::object()}};
  for (int i = 0; i < 65; ++i) wide["properties"]["p" + std::to_string(i)] = {{"type", "null"}};
  EXPECT_THAT(Problem(wide.dump()), HasSubstr("#/properties: 65 properties are not required; at most 32"));
  for (int i = 0; i < 1100; ++i) wide["properties"]["p" + std::to_string(i)] = {{"type", "null"}};
  EXPECT_THAT(Problem(wide.dump()), HasSubstr("more than 1024 properties"));
  Json values = {{"enum", Json::array()}};
  for (int i = 0; i < 1025; ++i) values["enum"].push_back(i);
  EXPECT_THAT(Problem(values.dump()), HasSubstr("more than 1024 enum values"));
  Json branches = {{"anyOf", Json::array()}};
  for (int i = 0; i < 65; ++i) branches["anyOf"].push_back({{"type", "null"}});
  EXPECT_THAT(Problem(branches.dump()), HasSubstr("#/anyOf: has 65 branches; at most 64"));
  EXPECT_THAT(Problem(R"({"type": "string", "pattern": ")" + std::string(300, 'a') + R"("})"),
              HasSubstr("300 bytes; at most 256"));
  Json patterns = {{"type", "object"}, {"properties", Json::object()}};
  for (int i = 0; i < 4; ++i)
    patterns["properties"]["p" + std::to_string(i)] = {{"type", "string"}, {"pattern", "[a-z]{100}x"}};
  EXPECT_THAT(Problem(patterns.dump()),
              HasSubstr("#/properties/p3/pattern: the schema holds more than 384 characters of patterns"));
  Json multiples = patterns;
  for (auto& [name, schema] : multiples["properties"].items()) schema = {{"type", "integer"}, {"multipleOf", 400}};
  EXPECT_THAT(Problem(multiples.dump()),
              HasSubstr("#/properties/p2/multipleOf: the schema holds more than 1000 multiples"));
  EXPECT_THAT(Problem("{}", SchemaDialect::kGeneral, {.max_schemas = 0}), HasSubstr("more than 0 schemas"));
}

std::string Relaxed(std::string_view schema, bool partial = true) {
  absl::StatusOr<RelaxedSchema> relaxed = RelaxSchema(schema);
  EXPECT_TRUE(relaxed.ok()) << relaxed.status();
  EXPECT_EQ(relaxed->partial, partial) << schema;
  return relaxed->prepared;
}

TEST(PrepareSchema, TakesLengthsOutOfPatterns) {
  const auto prepared = [](const std::string& rest, SchemaDialect dialect = SchemaDialect::kGeneral) {
    return *PrepareSchema(R"({"type":"string",)" + rest + "}", dialect);
  };
  EXPECT_EQ(prepared(R"("minLength":0)"), R"({"type":"string"})");
  EXPECT_EQ(prepared(R"("minLength":1,"maxLength":256)"), R"({"type":"string","minLength":1,"maxLength":256})");
  EXPECT_EQ(prepared(R"("pattern":"^.{1,20}$")"), R"({"type":"string","pattern":".*","minLength":1,"maxLength":20})");
  EXPECT_EQ(prepared(R"("pattern":"\\S{2,}")"), R"({"type":"string","pattern":"\\S*","minLength":2})");
  EXPECT_EQ(prepared(R"("pattern":"^[a-z ]{0,100}$")"), R"({"type":"string","pattern":"[ a-z]*","maxLength":100})");
  EXPECT_EQ(prepared(R"("pattern":"^[a-z]+$","maxLength":9)"),
            R"({"type":"string","pattern":"[a-z]*","minLength":1,"maxLength":9})");
  EXPECT_EQ(prepared(R"("pattern":"^[a-z]{3}$")"), R"({"type":"string","pattern":"^[a-z]{3}$"})") << "few are states";
  EXPECT_EQ(prepared(R"("pattern":"^[A-Z]{2}(-[0-9]{2}|x)$","minLength":3,"maxLength":5)"),
            R"({"type":"string","pattern":"^[A-Z]{2}(\\-[0-9]{2}|x)$"})")
      << "the pattern keeps to the lengths";
  SchemaLimits without;
  without.string_lengths = SchemaLimits::Lengths::kNone;
  EXPECT_THAT(
      std::string(
          PrepareSchema(R"({"type":"string","maxLength":9})", SchemaDialect::kGeneral, without).status().message()),
      HasSubstr("#/maxLength: lengths of strings are not supported"));
}

TEST(RelaxSchema, LeavesOpenOnlyWhatCannotBeFollowed) {
  constexpr char kAny[] = R"({"type":"object","additionalProperties":true})";
  EXPECT_EQ(Relaxed(R"({"type":"object","properties":{"a":{"type":"string","format":"phone"}},"required":["a"]})"),
            R"({"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false})");
  EXPECT_EQ(Relaxed(R"({"type":"object","properties":{"a":{"type":"string","pattern":"\\bx"},)"
                    R"("b":{"type":"boolean"}}})"),
            R"({"type":"object","properties":{"a":{"type":"string"},"b":{"type":"boolean"}},"required":[],)"
            R"("additionalProperties":false})");
  const auto whole = RelaxSchema(R"({"type":"object","properties":{"a":{"type":"integer","format":"int64"},)"
                                 R"("b":{"type":"array","items":{"type":"string"},"uniqueItems":false}}})",
                                 SchemaLimits());
  ASSERT_TRUE(whole.ok());
  EXPECT_FALSE(whole->partial) << "what excludes nothing can be followed";
  EXPECT_EQ(whole->prepared, R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"array",)"
                             R"("items":{"type":"string"}}},"required":[],"additionalProperties":false})");
  // A keyword that goes may have allowed other properties.
  EXPECT_EQ(Relaxed(R"({"type":"object","properties":{},"patternProperties":{"^x":{}},"additionalProperties":false})"),
            R"({"type":"object","properties":{},"required":[],"additionalProperties":true})");
  EXPECT_EQ(Relaxed(R"({"type":"object","properties":{"n":{"type":["number","null"],"multipleOf":0.1},)"
                    R"("l":{"type":"array","uniqueItems":true,"items":{"not":{}}}}})"),
            R"({"type":"object","properties":{"n":{"anyOf":[{"type":"number"},{"type":"null"}]},)"
            R"("l":{"type":"array","items":{}}},"required":[],"additionalProperties":false})");
  EXPECT_EQ(Relaxed(R"({"type":"object","allOf":[{"required":["a"]},{"required":["b"]}]})"),
            R"({"type":"object","properties":{},"required":[],"additionalProperties":true})");
  EXPECT_EQ(Relaxed(R"({"if":{},"then":{}})"), kAny);
  EXPECT_EQ(Relaxed(R"({"type":"string"})"), kAny);
  EXPECT_EQ(Relaxed("true"), kAny);
  EXPECT_EQ(Relaxed(std::string(1 << 20, ' ') + "{}"), kAny);
  EXPECT_EQ(Relaxed(std::string(500, '[') + std::string(500, ']')), kAny);
  EXPECT_FALSE(RelaxSchema("{").ok());
}

TEST(RelaxSchema, KeepsLengthsOfTextWhereTheyCanBeCounted) {
  SchemaLimits dsml;
  dsml.string_lengths = SchemaLimits::Lengths::kDsml;
  const auto relaxed = [&](const std::string& text, bool partial) {
    const auto result = RelaxSchema(R"({"type":"object","properties":{"a":)" + text + "}}", dsml);
    EXPECT_EQ(result->partial, partial) << text;
    return result->prepared.find("maxLength") != std::string::npos;
  };
  EXPECT_TRUE(relaxed(R"({"type":"string","maxLength":3})", false));
  EXPECT_TRUE(relaxed(R"({"type":["string","null"],"maxLength":3})", false));
  EXPECT_FALSE(relaxed(R"({"type":"string","maxLength":3,"pattern":"^[a-z]*$"})", true));
  EXPECT_FALSE(relaxed(R"({"anyOf":[{"type":"string","maxLength":3},{"const":"abcd"}]})", true));
}

TEST(RelaxSchema, IsTheSchemaWhereAllOfItCanBeFollowed) {
  for (
      const char* schema :
      {R"({"type":"object","properties":{"a":{"type":"integer","minimum":1},"b":{"$ref":"#/$defs/t"}},"required":["a"],)"
       R"("description":"x","$defs":{"t":{"type":"array","items":{"$ref":"#/$defs/t"}}}})",
       R"({"type":"object","properties":{"k":{"oneOf":[{"type":"string"},{"type":"null"}]}}})",
       R"({"$ref":"#/$defs/o","$defs":{"o":{"type":"object","properties":{"a":{"enum":[1,2]}}}}})"}) {
    EXPECT_EQ(Relaxed(schema, /*partial=*/false), *PrepareSchema(schema, SchemaDialect::kGeneral)) << schema;
  }
}

// Whatever is lost, what is left can be compiled: it passes the checks of a schema that is followed exactly.
TEST(RelaxSchema, GivesSchemasThatPassTheChecks) {
  for (const char* schema :
       {R"({"type":"object","properties":{"a":{"$ref":"#/$defs/none"},"b":{"$ref":7}}})",
        R"({"type":"object","properties":{"a":{"oneOf":[{"type":"string","minLength":1},{"type":"string"}]}}})",
        R"({"type":"object","properties":{"a":{"oneOf":[{"type":"string"},{"type":"string"}]}}})",
        R"({"type":"object","required":["z"],"properties":{"a":{"type":"string"}}})",
        R"({"type":"object","properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"$ref":"#/$defs/x"}}})",
        R"({"type":"object","properties":7})", R"({"type":7})", R"({"type":["object","elephant"]})",
        R"({"type":"object","$defs":7})", R"({"enum":[]})", R"({"anyOf":[]})", R"({"anyOf":7})", "[]", "7"}) {
    const std::string prepared = Relaxed(schema);
    EXPECT_TRUE(PrepareSchema(prepared, SchemaDialect::kGeneral).ok())
        << schema << " became " << prepared << ": " << PrepareSchema(prepared, SchemaDialect::kGeneral).status();
  }
}

}  // namespace
}  // namespace hadal::grammar
