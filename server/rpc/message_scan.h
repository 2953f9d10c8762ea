// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/zero_copy_stream.h>

#include "absl/status/status.h"

namespace hadal::rpc {

// Counts the contents of a serialized message of this type before it is parsed, because a field of two bytes can become
// an object of a hundred. INVALID_REQUEST with the field's name for a repeated field above its limit
// (service/limits.h), for more than kMaxUnknownFields unknown fields, and for malformed bytes. Consumes the stream;
// allocates nothing.
absl::Status ScanMessage(const google::protobuf::Descriptor& type, google::protobuf::io::ZeroCopyInputStream* bytes);

// Fields of a message and of those within it that its type does not have; newer clients send a few.
inline constexpr int kMaxUnknownFields = 256;

}  // namespace hadal::rpc
