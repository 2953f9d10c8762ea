// SPDX-License-Identifier: Apache-2.0
// What is left of a schema that cannot be followed exactly.
#include <algorithm>
#include <initializer_list>

#include "models/grammar/schema_reader.h"

namespace hadal::grammar {
namespace {

bool Declares(const Json& types, std::string_view type) {
  return std::any_of(types.begin(), types.end(),
                     [&](const Json& t) { return t == std::string(type) || (type == "number" && t == "integer"); });
}

Json AnyOfType(const std::string& type) {
  if (type == "object") {
    return {
        {"type", type}, {"properties", Json::object()}, {"required", Json::array()}, {"additionalProperties", true}};
  }
  if (type == "array") return {{"type", type}, {"items", Json::object()}};
  return {{"type", type}};
}

}  // namespace

Json LooseSchema(const Json& schema) {
  const auto keep = [&](std::initializer_list<std::string_view> keywords) {
    Json loose = Json::object();
    for (const auto& [keyword, value] : schema.items()) {
      const bool named = std::find(keywords.begin(), keywords.end(), keyword) != keywords.end();
      if (named || IsDefinitionGroup(keyword) || IsAnnotation(keyword) || AllowsAll(schema, keyword)) {
        loose[keyword] = value;
      }
    }
    return loose;
  };
  if (schema.contains("$ref")) return keep({"$ref"});
  if (schema.contains("enum")) return keep({"enum", "type"});
  if (schema.contains("const")) return keep({"const", "type"});
  const Json types = TypeList(schema);
  if (types.empty()) {
    for (const char* keyword : {"anyOf", "oneOf", "allOf"}) {
      if (schema.contains(keyword)) return keep({keyword});
    }
    return keep({});
  }
  Json loose = keep({"type"});
  bool named_elsewhere = false;  // a keyword that goes may have named properties
  for (const auto& [keyword, value] : schema.items()) {
    if (loose.contains(keyword)) continue;
    const std::string_view type = TypeOfKeyword(keyword);
    if (!type.empty() && Declares(types, type)) {
      loose[keyword] = value;
    } else {
      named_elsewhere |= type.empty();
    }
  }
  if (named_elsewhere && Declares(types, "object")) loose["additionalProperties"] = true;
  return loose;
}

Json TypesOf(const Json& schema) {
  Json alternatives = Json::array();
  for (const Json& type : TypeList(schema)) {
    if (!IsTypeName(type)) return Json::object();
    alternatives.push_back(AnyOfType(type));
  }
  if (alternatives.empty()) return Json::object();
  if (alternatives.size() == 1) return alternatives[0];
  return Json{{"anyOf", std::move(alternatives)}};
}

}  // namespace hadal::grammar
