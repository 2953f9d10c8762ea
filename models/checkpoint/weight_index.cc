// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/weight_index.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "models/json/field_reader.h"
#include "models/json/json_document.h"

namespace hadal::checkpoint {

absl::StatusOr<std::map<std::string, std::string>> ParseWeightIndex(absl::string_view text, absl::string_view path) {
  auto document = json::JsonDocument::Parse(text, path);
  if (!document.ok()) return document.status();
  json::FieldReader fields((*document)->root());
  const std::optional<json::JsonField> field = fields.OptionalObject("weight_map");
  if (!fields.status().ok()) return fields.status();
  const simdjson::dom::object weight_map = field ? *field->Object() : simdjson::dom::object();
  if (!field || weight_map.size() == 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": weight_map: expected tensor names, found none"));
  }
  std::map<std::string, std::string> shards;
  for (const simdjson::dom::key_value_pair entry : weight_map) {
    std::string_view name;
    const bool is_string = entry.value.get(name) == simdjson::SUCCESS;
    const absl::string_view shard = json::ToAbsl(name);
    const bool plain = is_string && absl::EndsWith(shard, ".safetensors") && !absl::StartsWith(shard, ".") &&
                       shard.size() <= 255 && shard.find_first_of(absl::string_view("/\\\0", 3)) == shard.npos;
    if (!plain) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": weight_map: tensor \"", json::QuoteForError(json::ToAbsl(entry.key)),
          "\": expected the name of a .safetensors file in this folder, found ", json::DescribeJson(entry.value)));
    }
    shards.emplace(entry.key, name);
  }
  return shards;
}

}  // namespace hadal::checkpoint
