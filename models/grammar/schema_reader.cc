// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/schema_reader.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "base/utf8.h"

namespace hadal::grammar {
namespace {

constexpr std::string_view kDefinitionPrefixes[] = {"#/$defs/", "#/$def/", "#/definitions/"};

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

std::string Unescape(std::string_view pointer_token) {
  return absl::StrReplaceAll(View(pointer_token), {{"~1", "/"}, {"~0", "~"}});
}

}  // namespace

absl::Status SchemaError(const std::string& place, std::string_view message) {
  // What place and message quote of the schema may be cut within a character.
  return absl::InvalidArgumentError(base::ToValidUtf8(absl::StrCat(place, ": ", View(message))));
}

std::string Place(const std::string& place, std::string_view key) {
  return absl::StrCat(place, "/", absl::StrReplaceAll(View(key.substr(0, 128)), {{"~", "~0"}, {"/", "~1"}}));
}

bool IsAnnotation(std::string_view keyword) {
  static const std::set<std::string_view> kKnown = {
      "title",     "description", "default", "example", "examples",      "deprecated",      "readOnly",
      "writeOnly", "$comment",    "$schema", "$id",     "discriminator", "contentEncoding", "contentMediaType"};
  return kKnown.contains(keyword) || keyword.starts_with("x-");
}

bool AllowsAll(const Json& schema, std::string_view keyword) {
  const Json& value = schema[std::string(keyword)];
  if (keyword == "uniqueItems") return value == false;
  if (keyword == "nullable") return value == false || (value == true && schema.contains("type"));
  if (keyword == "additionalItems") return !schema.contains("items") || !schema["items"].is_array();
  if (keyword == "minProperties") return value == 0;
  if (keyword == "patternProperties" || keyword == "dependentRequired") return value == Json::object();
  if (keyword == "propertyNames") {
    if (!value.is_object()) return value == true;
    for (const auto& [name, part] : value.items()) {
      if (!IsAnnotation(name) && !(name == "type" && part == "string")) return false;
    }
    return true;
  }
  if (keyword != "format") return false;
  const Json types = TypeList(schema);
  return !types.empty() && std::find(types.begin(), types.end(), "string") == types.end();
}

bool IsDefinitionGroup(std::string_view keyword) {
  return std::find(std::begin(kDefinitionGroups), std::end(kDefinitionGroups), keyword) != std::end(kDefinitionGroups);
}

Json TypeList(const Json& schema) {
  if (!schema.contains("type")) return Json::array();
  Json types = schema["type"].is_array() ? schema["type"] : Json::array({schema["type"]});
  if (schema.contains("nullable") && schema["nullable"] == true && !types.empty() &&
      std::find(types.begin(), types.end(), "null") == types.end()) {
    types.push_back("null");
  }
  return types;
}

bool IsTypeName(const Json& type) {
  constexpr std::string_view kTypes[] = {"object", "array", "string", "number", "integer", "boolean", "null"};
  return type.is_string() &&
         std::find(std::begin(kTypes), std::end(kTypes), type.get<std::string>()) != std::end(kTypes);
}

std::string_view TypeOfKeyword(std::string_view keyword) {
  static const std::map<std::string_view, std::string_view> kTypeOf = {
      {"properties", "object"}, {"required", "object"},        {"additionalProperties", "object"},
      {"items", "array"},       {"prefixItems", "array"},      {"additionalItems", "array"},
      {"minItems", "array"},    {"maxItems", "array"},         {"pattern", "string"},
      {"format", "string"},     {"minLength", "string"},       {"maxLength", "string"},
      {"minimum", "number"},    {"maximum", "number"},         {"exclusiveMinimum", "number"},
      {"multipleOf", "number"}, {"exclusiveMaximum", "number"}};
  const auto found = kTypeOf.find(keyword);
  return found == kTypeOf.end() ? std::string_view() : found->second;
}

absl::Status SchemaReader::Count(int* counter, int64_t add, int limit, std::string_view what,
                                 const std::string& place) const {
  if (add > limit - *counter) {
    return SchemaError(place, absl::StrCat("the schema holds more than ", limit, " ", View(what)));
  }
  *counter += static_cast<int>(add);
  return absl::OkStatus();
}

// Definitions may stand at the root only, next to anything.
bool SchemaReader::IsDefinitions(const Json& schema, std::string_view keyword) const {
  return &schema == root_ && IsDefinitionGroup(keyword);
}

absl::Status SchemaReader::CheckKeywords(const Json& schema, const std::string& place,
                                         std::initializer_list<std::string_view> allowed) const {
  for (const auto& [keyword, value] : schema.items()) {
    if (IsAnnotation(keyword) || std::find(allowed.begin(), allowed.end(), keyword) != allowed.end()) continue;
    if (IsDefinitions(schema, keyword) || AllowsAll(schema, keyword)) continue;
    if (keyword == "nullable" && value == true) {
      return SchemaError(Place(place, keyword),
                         R"(is supported beside a type only; elsewhere use anyOf with {"type": "null"})");
    }
    return SchemaError(Place(place, keyword),
                       absl::StrCat("this keyword is not supported here", strict() ? " in strict tools" : ""));
  }
  return absl::OkStatus();
}

absl::StatusOr<Json> SchemaReader::ReadRoot(const Json& root) {
  root_ = &root;
  if (!root.is_object()) return SchemaError("#", "a schema must be an object");
  for (const std::string_view group : kDefinitionGroups) {
    const auto found = root.find(group);
    if (found == root.end()) continue;
    if (!found->is_object()) return SchemaError(Place("#", group), "must be an object");
    for (const auto& [name, schema] : found->items()) {
      definitions_.emplace(absl::StrCat("#/", View(group), "/", name), absl::StrCat("d", definitions_.size()));
    }
  }
  absl::StatusOr<Json> out = Read(root, "#", 0);
  if (!out.ok()) return out;
  if (strict() && (!out->contains("type") || (*out)["type"] != "object")) {
    return SchemaError("#/type", "the parameters of a strict tool must be of type object");
  }
  Json definitions = Json::object();
  for (const auto& [reference, name] : definitions_) {
    const size_t slash = reference.find('/', 2);
    const std::string group = reference.substr(2, slash - 2), key = reference.substr(slash + 1);
    absl::StatusOr<Json> read = Read(root[group][key], Place(Place("#", group), key), 1);
    if (!read.ok()) return read;
    definitions[name] = *std::move(read);
  }
  if (!definitions.empty()) (*out)["$defs"] = std::move(definitions);
  if (absl::Status status = CheckRecursion(*out, definitions_); !status.ok()) return status;
  return out;
}

absl::StatusOr<Json> SchemaReader::Read(const Json& schema, const std::string& place, int depth) {
  if (!relax_ || !schema.is_object()) {
    Result read = ReadExactly(schema, place, depth);
    if (read.ok() || !relax_) return read;
    partial_ = true;
    return Json::object();
  }
  // Keywords go before the parts are read, so that no part is read twice.
  Json loose = LooseSchema(schema);
  const bool same = loose.size() == schema.size();
  for (const std::string_view group : kDefinitionGroups) loose.erase(std::string(group));
  // The original where nothing has gone, because definitions are known by the root's address.
  Result read = ReadExactly(same ? schema : loose, place, depth);
  partial_ |= !same || !read.ok();
  return read.ok() ? read : TypesOf(schema);
}

absl::StatusOr<Json> SchemaReader::ReadExactly(const Json& schema, const std::string& place, int depth) {
  if (schema.is_boolean() && schema.get<bool>() && !strict()) return Json::object();
  if (!schema.is_object()) return SchemaError(place, "a schema must be an object");
  if (depth > limits_.max_depth) {
    return SchemaError(place, absl::StrCat("schemas are nested more than ", limits_.max_depth, " deep"));
  }
  if (absl::Status s = Count(&schemas_, 1, limits_.max_schemas, "schemas", place); !s.ok()) return s;
  if (schema.contains("$ref")) return ReadReference(schema, place);
  if (schema.contains("enum") || schema.contains("const")) return ReadValues(schema, place);
  for (const char* keyword : {"anyOf", "oneOf", "allOf"}) {
    if (schema.contains(keyword)) return ReadBranches(schema, keyword, place, depth);
  }
  return ReadTyped(schema, place, depth);
}

absl::StatusOr<Json> SchemaReader::ReadReference(const Json& schema, const std::string& place) {
  if (absl::Status s = CheckKeywords(schema, place, {"$ref"}); !s.ok()) return s;
  if (absl::Status s = Count(&references_, 1, limits_.max_references, "references", place); !s.ok()) return s;
  const std::string here = Place(place, "$ref");
  if (!schema["$ref"].is_string()) return SchemaError(here, "must be a string");
  const std::string reference = schema["$ref"];
  if (reference == "#") return Json{{"$ref", "#"}};
  for (const std::string_view prefix : kDefinitionPrefixes) {
    if (!reference.starts_with(prefix)) continue;
    const auto found =
        definitions_.find(absl::StrCat(View(prefix), Unescape(std::string_view(reference).substr(prefix.size()))));
    if (found == definitions_.end()) break;
    return Json{{"$ref", "#/$defs/" + found->second}};
  }
  return SchemaError(here, absl::StrCat("\"", reference.substr(0, 128), "\" is no definition under #/$defs"));
}

absl::StatusOr<Json> SchemaReader::ReadBranches(const Json& schema, const char* keyword, const std::string& place,
                                                int depth) {
  const std::string_view name = keyword;
  const std::string here = Place(place, name);
  if (strict() && name != "anyOf") return SchemaError(here, "this keyword is not supported in strict tools");
  if (absl::Status s = CheckKeywords(schema, place, {name}); !s.ok()) return s;
  const Json& branches = schema[keyword];
  if (!branches.is_array() || branches.empty()) return SchemaError(here, "must be an array that is not empty");
  if (static_cast<int>(branches.size()) > limits_.max_branches) {
    return SchemaError(
        here, absl::StrCat("has ", branches.size(), " branches; at most ", limits_.max_branches, " are allowed"));
  }
  if (name == "allOf") {
    if (branches.size() != 1) return SchemaError(here, "more than one schema in allOf is not supported");
    return Read(branches[0], here + "/0", depth + 1);
  }
  Json out = Json::array();
  for (size_t i = 0; i < branches.size(); ++i) {
    absl::StatusOr<Json> branch = Read(branches[i], absl::StrCat(here, "/", i), depth + 1);
    if (!branch.ok()) return branch;
    out.push_back(*std::move(branch));
  }
  // A relaxed branch may overlap with others, and anyOf allows more than oneOf.
  if (name == "oneOf" && !partial_) {
    absl::Status exclusive = CheckOneOf(branches, here);
    if (!exclusive.ok() && !relax_) return exclusive;
    partial_ |= !exclusive.ok();
  }
  return Json{{"anyOf", std::move(out)}};
}

// Branches exclude each other when they are of different types, or objects that require a property with
// different constants.
absl::Status SchemaReader::CheckOneOf(const Json& branches, const std::string& place) const {
  const auto resolve = [&](const Json& branch) -> const Json& {
    if (!branch.contains("$ref") || branch["$ref"] == "#") return branch;
    const std::string reference = branch["$ref"];
    const size_t slash = reference.find('/', 2);
    return (*root_)[reference.substr(2, slash - 2)][Unescape(std::string_view(reference).substr(slash + 1))];
  };
  const auto type_of = [](const Json& branch) {
    const std::string type =
        branch.contains("type") && branch["type"].is_string() ? branch["type"].get<std::string>() : "";
    return type == "integer" ? std::string("number") : type;
  };
  const auto allows_null = [](const Json& branch) {
    const Json types = TypeList(branch);
    return std::find(types.begin(), types.end(), "null") != types.end();
  };
  // The constant that `branch` requires of `property`, as text; "" when there is none.
  const auto constant = [](const Json& branch, const std::string& property) -> std::string {
    if (!branch.contains("properties") || !branch["properties"].contains(property) || !branch.contains("required"))
      return "";
    const Json& required = branch["required"];
    if (std::find(required.begin(), required.end(), Json(property)) == required.end()) return "";
    const Json& schema = branch["properties"][property];
    if (schema.contains("const")) return schema["const"].dump();
    return schema.contains("enum") && schema["enum"].size() == 1 ? schema["enum"][0].dump() : "";
  };
  for (size_t i = 0; i < branches.size(); ++i) {
    for (size_t j = i + 1; j < branches.size(); ++j) {
      const Json &a = resolve(branches[i]), &b = resolve(branches[j]);
      const bool both_null = allows_null(a) && allows_null(b);
      if (!both_null && !type_of(a).empty() && !type_of(b).empty() && type_of(a) != type_of(b)) continue;
      bool differ = false;
      if (!both_null && a.contains("properties")) {
        for (const auto& [property, unused] : a["properties"].items()) {
          const std::string one = constant(a, property), other = constant(b, property);
          differ = differ || (!one.empty() && !other.empty() && one != other);
        }
      }
      if (differ) continue;
      return SchemaError(
          absl::StrCat(place, "/", j),
          absl::StrCat("does not exclude branch ", i, " by its type or by a required constant; use anyOf"));
    }
  }
  return absl::OkStatus();
}

// A keyword says something about one kind of value; with another type it would say nothing.
absl::Status SchemaReader::CheckTypedKeywords(const Json& schema, const Json& types, const std::string& place) const {
  const auto declared = [&](std::string_view type) {
    return std::any_of(types.begin(), types.end(), [&](const Json& t) {
      return t.is_string() && (t.get<std::string>() == type || (type == "number" && t == "integer"));
    });
  };
  for (const auto& [keyword, value] : schema.items()) {
    if (keyword == "type" || IsAnnotation(keyword) || AllowsAll(schema, keyword)) continue;
    const std::string_view type = TypeOfKeyword(keyword);
    if (type.empty()) {
      if (absl::Status s = CheckKeywords(Json{{keyword, value}}, place, {}); !s.ok() && !IsDefinitions(schema, keyword))
        return s;
    } else if (!declared(type)) {
      return SchemaError(Place(place, keyword), absl::StrCat("needs the type ", View(type)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Json> SchemaReader::ReadTyped(const Json& schema, const std::string& place, int depth) {
  const std::string here = Place(place, "type");
  const bool untyped = !schema.contains("type");
  if (untyped) {
    // {} stands for any value; keywords without a type would hold for values of that type only.
    if (absl::Status s = CheckKeywords(schema, place, {}); !s.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(s.message(), " without a type"));
    }
    if (strict()) return SchemaError(here, "a strict tool needs a type here");
    return Json::object();
  }
  const Json types = TypeList(schema);
  if (types.empty()) return SchemaError(here, "must not be empty");
  if (absl::Status s = CheckTypedKeywords(schema, types, place); !s.ok()) return s;
  Json alternatives = Json::array();
  for (const Json& type : types) {
    if (!IsTypeName(type)) {
      return SchemaError(here, absl::StrCat(type.dump().substr(0, 64), " is no type of JSON Schema"));
    }
    const std::string name = type;
    Json out = {{"type", name}};
    absl::Status status;
    if (name == "object") status = ReadObject(schema, place, depth, &out);
    if (name == "array") status = ReadArray(schema, place, depth, &out);
    if (name == "string") status = ReadString(schema, place, &out);
    if (name == "integer" || name == "number") status = ReadNumber(schema, place, name == "integer", &out);
    if (!status.ok()) return status;
    alternatives.push_back(std::move(out));
  }
  if (alternatives.size() == 1) return alternatives[0];
  return Json{{"anyOf", std::move(alternatives)}};
}

}  // namespace hadal::grammar
