// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/message.h>

#include <set>
#include <string>
#include <vector>

namespace hadal::client {

// The fields of a message and of the messages inside it, by full name, as "hadal.v1.StopConditions.stop".
inline void AddFieldsOf(const google::protobuf::Descriptor& type, std::set<std::string>* names) {
  for (int i = 0; i < type.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *type.field(i);
    if (!names->insert(std::string(field.full_name())).second) continue;
    if (field.message_type() != nullptr && !field.is_map()) AddFieldsOf(*field.message_type(), names);
  }
}

// Those that are set.
inline void AddFieldsSetIn(const google::protobuf::Message& message, std::set<std::string>* names) {
  const auto* reflection = message.GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const auto* field : fields) {
    names->insert(std::string(field->full_name()));
    if (field->message_type() == nullptr || field->is_map()) continue;
    if (!field->is_repeated()) AddFieldsSetIn(reflection->GetMessage(message, field), names);
    for (int i = 0; field->is_repeated() && i < reflection->FieldSize(message, field); ++i) {
      AddFieldsSetIn(reflection->GetRepeatedMessage(message, field, i), names);
    }
  }
}

}  // namespace hadal::client
