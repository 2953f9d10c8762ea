// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/message_codec.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include "absl/strings/str_cat.h"
#include "server/request/refusal.h"
#include "server/rpc/message_scan.h"

namespace hadal::rpc {

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message) {
  grpc::ByteBuffer copy(bytes);  // shares the slices
  {
    grpc::ProtoBufferReader reader(&copy);
    if (absl::Status status = ScanMessage(*message->GetDescriptor(), &reader); !status.ok()) return status;
  }
  grpc::ProtoBufferReader reader(&copy);
  if (!reader.status().ok() || !message->ParseFromZeroCopyStream(&reader)) {
    // Its form has passed the scan; what protobuf also checks is its texts.
    return request::MakeError(
        request::Reason::kInvalidRequest,
        absl::StrCat("the message is not a valid ", message->GetTypeName(), ": a text in it is not UTF-8"));
  }
  return absl::OkStatus();
}

grpc::ByteBuffer Serialize(const google::protobuf::Message& message) {
  const size_t size = message.ByteSizeLong();
  grpc_slice slice = grpc_slice_malloc(size);
  message.SerializeWithCachedSizesToArray(GRPC_SLICE_START_PTR(slice));
  grpc::Slice owned(slice, grpc::Slice::STEAL_REF);
  return grpc::ByteBuffer(&owned, 1);
}

}  // namespace hadal::rpc
