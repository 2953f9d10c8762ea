// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/weight_index.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "models/config/json_fields.h"

namespace hadal::checkpoint {

absl::StatusOr<std::map<std::string, std::string>> ParseWeightIndex(absl::string_view text, absl::string_view path) {
  auto document = config::JsonDocument::Parse(text, path);
  if (!document.ok()) return document.status();
  config::FieldReader fields(path, "", (*document)->root());
  auto object = fields.OptionalObject("weight_map");
  if (!fields.status().ok()) return fields.status();
  if (!object || object->size() == 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": weight_map: expected tensor names, found none"));
  }
  std::map<std::string, std::string> shards;
  for (simdjson::dom::key_value_pair field : *object) {
    std::string_view name;
    const bool is_string = field.value.get(name) == simdjson::SUCCESS;
    const absl::string_view shard = config::ToAbsl(name);
    const bool plain = is_string && absl::EndsWith(shard, ".safetensors") && !absl::StartsWith(shard, ".") &&
                       shard.size() <= 255 && shard.find_first_of(absl::string_view("/\\\0", 3)) == shard.npos;
    if (!plain) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": weight_map: tensor \"", config::QuoteForError(config::ToAbsl(field.key)),
          "\": expected the name of a .safetensors file in this folder, found ", config::DescribeJson(field.value)));
    }
    shards.emplace(field.key, name);
  }
  return shards;
}

}  // namespace hadal::checkpoint
