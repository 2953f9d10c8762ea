// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"

namespace hadal::rpc {

// Reads a message from the bytes of a call, after ScanMessage has counted its parts. INVALID_REQUEST when they are no
// such message or hold more than it may.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message);

// One slice: responses are small, and a single slice is the cheapest to send.
grpc::ByteBuffer Serialize(const google::protobuf::Message& message);

}  // namespace hadal::rpc
