// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/string_slots.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "models/grammar/slot_codes.h"

namespace hadal::grammar {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kAnyName[] = "any";  // of a definition; those of prepared schemas are d0, d1, ...

bool IsBounded(const Json& schema) { return schema.contains("minLength") || schema.contains("maxLength"); }

// Calls `visit` with each schema directly inside `schema`.
template <class Schema, class Visit>
void ForParts(Schema& schema, const Visit& visit) {
  for (const char* keyword : {"properties", "$defs"}) {
    if (!schema.contains(keyword)) continue;
    for (auto& part : schema[keyword]) visit(part);
  }
  for (const char* keyword : {"prefixItems", "anyOf"}) {
    if (!schema.contains(keyword)) continue;
    for (auto& part : schema[keyword]) visit(part);
  }
  for (const char* keyword : {"items", "additionalProperties"}) {
    if (schema.contains(keyword) && schema[keyword].is_object()) visit(schema[keyword]);
  }
}

bool HoldsBounded(const Json& schema, bool with_pattern = false) {
  if (IsBounded(schema) && (!with_pattern || schema.contains("pattern"))) return true;
  bool found = false;
  ForParts(schema, [&](const Json& part) { found = found || HoldsBounded(part, with_pattern); });
  return found;
}

// Calls `visit` with each JSON schema of a format, and whether its strings are text.
template <class Visit>
void ForSchemas(Json& format, const Visit& visit) {
  if (!format.is_structured()) return;
  if (format.is_object() && format.contains("json_schema")) {
    return visit(format["json_schema"], format.contains("style") && format["style"] == "deepseek_xml");
  }
  for (auto& part : format) ForSchemas(part, visit);
}

// The kinds of values that hold strings and begin alike.
enum Kind : unsigned { kNone = 0, kString = 1, kObject = 2, kArray = 4, kEvery = 7 };

unsigned KindOfValue(const Json& value) {
  return value.is_string() ? kString : value.is_object() ? kObject : value.is_array() ? kArray : kNone;
}

class Ambiguity {
 public:
  explicit Ambiguity(const Json& root) : root_(root) {}

  // Whether a text may be read by two branches of an anyOf at a time and hold strings.
  bool In(const Json& schema) const {
    bool found = false;
    if (schema.contains("anyOf")) {
      unsigned seen = 0;
      for (const Json& branch : schema["anyOf"]) {
        std::set<std::string> references;
        const unsigned kinds = KindsOf(branch, &references);
        found = found || (seen & kinds) != 0;
        seen |= kinds;
      }
    }
    ForParts(schema, [&](const Json& part) { found = found || In(part); });
    return found;
  }

 private:
  unsigned KindsOf(const Json& schema, std::set<std::string>* references) const {
    unsigned kinds = 0;
    if (schema.contains("$ref")) {
      const std::string reference = schema["$ref"];
      if (!references->insert(reference).second) return 0;
      const size_t slash = reference.rfind('/');
      return KindsOf(slash == std::string::npos ? root_ : root_["$defs"][reference.substr(slash + 1)], references);
    }
    if (schema.contains("enum")) {
      for (const Json& value : schema["enum"]) kinds |= KindOfValue(value);
      return kinds;
    }
    if (schema.contains("anyOf")) {
      for (const Json& branch : schema["anyOf"]) kinds |= KindsOf(branch, references);
      return kinds;
    }
    if (!schema.contains("type")) return kEvery;
    const std::string type = schema["type"];
    return type == "string" ? kString : type == "object" ? kObject : type == "array" ? kArray : kNone;
  }

  const Json& root_;
};

// Puts markers into prepared schemas (see PrepareSchema).
class SlotTaker {
 public:
  // `every_string`: of the values.
  void TakeRoot(Json* root, bool every_string) {
    every_string_ = every_string;
    uses_any_ = false;
    Json definitions = root->value("$defs", Json::object());
    root->erase("$defs");
    Take(root);
    for (Json& definition : definitions) Take(&definition);
    if (uses_any_) definitions[kAnyName] = AnyValue();
    if (!definitions.empty()) (*root)["$defs"] = std::move(definitions);
  }
  const std::vector<StringSlot>& slots() const { return slots_; }

 private:
  void Take(Json* schema) {
    if (schema->contains("$ref")) return;
    if (schema->contains("enum")) {
      if (every_string_) TakeValues(schema);
      return;
    }
    if (schema->contains("type") && (*schema)["type"] == "string") {
      if (every_string_ || IsBounded(*schema)) *schema = Marker(*schema);
      return;
    }
    if (every_string_) NameAny(schema);
    ForParts(*schema, [&](Json& part) { Take(&part); });
  }

  Json Marker(const Json& string) {
    StringSlot slot;
    slot.min = string.value("minLength", int64_t{0});
    slot.max = string.value("maxLength", StringSlot::kUnbounded);
    slot.endings = string.value("x-endings", std::vector<std::string>());
    Json form = string;
    form.erase("x-endings");
    form.erase("minLength");
    form.erase("maxLength");
    if (form.size() > 1 || form.contains("enum")) slot.form = form.dump();
    const auto known = std::find(slots_.begin(), slots_.end(), slot);
    const auto number = known - slots_.begin();
    if (known == slots_.end()) slots_.push_back(slot);
    return Json{{"enum", Json::array({absl::StrCat(std::string(kSlotMarker), number)})}};
  }

  // The strings of an enum are a slot; objects and arrays in it become schemas of their own.
  void TakeValues(Json* schema) {
    Json strings = Json::array(), others = Json::array(), branches = Json::array();
    for (const Json& value : (*schema)["enum"]) {
      if (value.is_string()) {
        strings.push_back(value);
      } else if (value.is_structured()) {
        branches.push_back(SchemaOf(value));
      } else {
        others.push_back(value);
      }
    }
    if (!strings.empty()) branches.push_back(Marker(Json{{"enum", strings}}));
    if (!others.empty()) branches.push_back(Json{{"enum", others}});
    *schema = branches.size() == 1 ? branches[0] : Json{{"anyOf", branches}};
  }

  Json SchemaOf(const Json& value) {
    if (value.is_string() || !value.is_structured()) {
      Json one = {{"enum", Json::array({value})}};
      return value.is_string() ? Marker(one) : one;
    }
    if (value.is_array()) {
      Json items = Json::array();
      for (const Json& item : value) items.push_back(SchemaOf(item));
      return {{"type", "array"}, {"prefixItems", items}, {"items", false}, {"minItems", value.size()}};
    }
    Json properties = Json::object(), required = Json::array();
    for (const auto& [name, part] : value.items()) {
      properties[name] = SchemaOf(part);
      required.push_back(name);
    }
    return {{"type", "object"}, {"properties", properties}, {"required", required}, {"additionalProperties", false}};
  }

  // Where any value is allowed, its strings need slots too.
  void NameAny(Json* schema) {
    const Json any = {{"$ref", absl::StrCat("#/$defs/", kAnyName)}};
    if (!schema->contains("type") && !schema->contains("anyOf")) {
      (*schema)["anyOf"] = Json::array({any});
      uses_any_ = true;
      return;
    }
    for (const char* keyword : {"items", "additionalProperties"}) {
      if (!schema->contains(keyword) || (*schema)[keyword] != true) continue;
      (*schema)[keyword] = any;
      uses_any_ = true;
    }
  }

  Json AnyValue() {
    const Json any = {{"$ref", absl::StrCat("#/$defs/", kAnyName)}};
    Json branches = Json::array({Marker({{"type", "string"}})});
    for (const char* type : {"number", "boolean", "null"}) branches.push_back(Json{{"type", type}});
    branches.push_back(Json{{"type", "array"}, {"items", any}});
    branches.push_back(Json{{"type", "object"}, {"additionalProperties", any}});
    return {{"anyOf", std::move(branches)}};
  }

  bool every_string_ = false;
  bool uses_any_ = false;
  std::vector<StringSlot> slots_;
};

}  // namespace

absl::StatusOr<SlottedFormat> TakeSlots(const std::string& format) {
  SlottedFormat slotted{.format = format};
  // The keywords stand in the text when a string is bounded.
  if (format.find("Length\"") == std::string::npos) return slotted;
  if (format.find(kSlotMarker) != std::string::npos) {
    return absl::InvalidArgumentError("the character U+10FFFE is not supported beside strings with a length");
  }
  Json json = Json::parse(format, nullptr, /*allow_exceptions=*/false);
  SlotTaker taker;
  bool fits_text = true;
  ForSchemas(json, [&](Json& schema, bool is_text) {
    if (!HoldsBounded(schema)) return;
    const bool ambiguous = Ambiguity(schema).In(schema);
    fits_text = fits_text && (!is_text || (!ambiguous && !HoldsBounded(schema, /*with_pattern=*/true)));
    taker.TakeRoot(&schema, ambiguous);
    slotted.shared |= ambiguous;
    slotted.text |= is_text;
  });
  if (taker.slots().empty()) return slotted;
  if (!fits_text) {
    return absl::InvalidArgumentError(
        "lengths of strings are supported in the tool calls of this model only without a pattern, and where no "
        "alternatives begin alike");
  }
  slotted.slots = taker.slots();
  const int limit = slotted.shared ? kMaxSharedSlots : kMaxSlots;
  if (static_cast<int>(slotted.slots.size()) > limit) {
    return absl::InvalidArgumentError(
        absl::StrCat("the schema has ", slotted.slots.size(), " different kinds of strings, some with a length",
                     slotted.shared ? ", and alternatives that begin alike" : "", "; at most ", limit, " are allowed"));
  }
  slotted.format = json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
  return slotted;
}

}  // namespace hadal::grammar
