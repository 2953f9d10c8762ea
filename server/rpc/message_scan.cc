// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/message_scan.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/batches/batch_request.h"
#include "server/request/refusal.h"
#include "server/service/limits.h"

namespace hadal::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using request::MakeError;
using request::Reason;

// A part that stands once may be sent in pieces, which are merged. No client needs many.
constexpr size_t kMaxPieces = 8;

// Entries of repeated fields that hold messages or strings, and pieces of messages that stand once. No limit for
// numbers and plain strings: they take little more memory than their bytes.
size_t LimitOf(const FieldDescriptor& field) {
  constexpr std::array<std::pair<std::string_view, size_t>, 8> kLimits = {{
      {"messages", service::kMaxMessages},
      {"tools", service::kMaxTools},
      {"documents", service::kMaxDocuments},
      {"tool_calls", service::kMaxToolCallsPerMessage},
      {"stop", service::kMaxStopStrings},
      {"stop_token_ids", service::kMaxStopTokenIds},
      {"logit_bias", service::kMaxLogitBias},
      {"metadata", batches::kMaxMetadata},
  }};
  if (!field.is_repeated()) return field.type() == FieldDescriptor::TYPE_MESSAGE ? kMaxPieces : SIZE_MAX;
  for (const auto& [name, limit] : kLimits) {
    if (field.name() == name) return limit;
  }
  return SIZE_MAX;
}

WireFormatLite::WireType WireTypeOf(const FieldDescriptor& field) {
  return WireFormatLite::WireTypeForFieldType(static_cast<WireFormatLite::FieldType>(field.type()));
}

class Scanner {
 public:
  Scanner(const Descriptor& type, google::protobuf::io::ZeroCopyInputStream* bytes) : type_(type), in_(bytes) {}

  absl::Status Run() {
    const bool read = Scan(type_, /*depth=*/0);
    if (!error_.ok()) return error_;
    if (!read || !in_.ConsumedEntireMessage()) {
      return MakeError(Reason::kInvalidRequest, absl::StrCat("the message is not a valid ", type_.full_name()));
    }
    return absl::OkStatus();
  }

 private:
  // Above the numbers of our messages' fields.
  static constexpr int kNumbers = 64;
  static constexpr int kMaxDepth = 16;

  struct Field {
    const FieldDescriptor* type = nullptr;
    size_t count = 0;
  };

  // One message, up to the stream's limit. False when it is malformed or error_ is set.
  bool Scan(const Descriptor& type, int depth) {
    std::array<Field, kNumbers> fields;
    for (int i = 0; i < type.field_count(); ++i) {
      if (type.field(i)->number() < kNumbers) fields[type.field(i)->number()].type = type.field(i);
    }
    while (const uint32_t tag = in_.ReadTagNoLastTag()) {
      const int number = WireFormatLite::GetTagFieldNumber(tag);
      const auto wire_type = WireFormatLite::GetTagWireType(tag);
      Field* const field = number < kNumbers && fields[number].type != nullptr ? &fields[number] : nullptr;
      bool skipped = false;
      if (field != nullptr && wire_type == WireTypeOf(*field->type)) {
        if (++field->count > LimitOf(*field->type)) return FailCount(*field->type);
        const bool nested = field->type->type() == FieldDescriptor::TYPE_MESSAGE;
        skipped = nested ? ScanNested(*field->type->message_type(), depth) : WireFormatLite::SkipField(&in_, tag);
      } else if (field != nullptr && field->type->is_packable() &&
                 wire_type == WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
        skipped = WireFormatLite::SkipField(&in_, tag);  // a packed run of numbers
      } else {
        skipped = SkipUnknown(tag);  // protobuf keeps a field of another wire type as an unknown one
      }
      if (!skipped) return false;
    }
    return true;
  }

  bool ScanNested(const Descriptor& type, int depth) {
    uint32_t size = 0;
    if (!in_.ReadVarint32(&size) || size > INT32_MAX || depth >= kMaxDepth) return false;
    const CodedInputStream::Limit limit = in_.PushLimit(static_cast<int>(size));
    if (!Scan(type, depth + 1) || in_.BytesUntilLimit() != 0) return false;
    in_.PopLimit(limit);
    return true;
  }

  bool SkipUnknown(uint32_t tag) {
    if (++unknown_ > kMaxUnknownFields) {
      return Fail(absl::StrCat("the message has more than ", kMaxUnknownFields, " fields that are not known"), "");
    }
    // Groups hold any number of fields; no message of ours has one.
    const auto wire_type = WireFormatLite::GetTagWireType(tag);
    if (wire_type == WireFormatLite::WIRETYPE_START_GROUP || wire_type == WireFormatLite::WIRETYPE_END_GROUP) {
      return false;
    }
    return WireFormatLite::SkipField(&in_, tag);
  }

  bool FailCount(const FieldDescriptor& field) {
    return Fail(absl::StrCat("`", field.name(), "` has more than ", LimitOf(field),
                             field.is_repeated() ? " entries" : " pieces"),
                field.name());
  }

  bool Fail(const std::string& what, const std::string& param) {
    error_ = MakeError(Reason::kInvalidRequest, what, param);
    return false;
  }

  const Descriptor& type_;
  CodedInputStream in_;
  int unknown_ = 0;
  absl::Status error_;
};

}  // namespace

absl::Status ScanMessage(const Descriptor& type, google::protobuf::io::ZeroCopyInputStream* bytes) {
  return Scanner(type, bytes).Run();
}

}  // namespace hadal::rpc
