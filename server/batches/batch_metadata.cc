// SPDX-License-Identifier: Apache-2.0
#include "server/batches/batch_metadata.h"

#include <simdjson.h>

#include "server/base/json_string.h"

namespace hadal::batches {

std::string MetadataJson(const Metadata& metadata) {
  if (metadata.empty()) return "null";
  std::string json = "{";
  for (const auto& [key, value] : metadata) {
    if (json.size() > 1) json.push_back(',');
    base::AppendJsonQuoted(key, &json);
    json.push_back(':');
    base::AppendJsonQuoted(value, &json);
  }
  json.push_back('}');
  return json;
}

Metadata ReadMetadataJson(std::string_view json) {
  Metadata metadata;
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  if (parser.parse(json.data(), json.size()).get_object().get(object) != simdjson::SUCCESS) return metadata;
  for (const simdjson::dom::key_value_pair field : object) {
    std::string_view value;
    if (field.value.get_string().get(value) == simdjson::SUCCESS) metadata[std::string(field.key)] = std::string(value);
  }
  return metadata;
}

}  // namespace hadal::batches
