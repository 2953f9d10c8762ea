// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>

#include <string_view>

#include "absl/status/status.h"
#include "server/rpc/call_environment.h"
#include "server/service/call_record.h"

namespace hadal::rpc {

// What a call's metadata says, read before its message is.
struct CallMetadata {
  service::CallInfo info;     // with the client's x-request-id when it is sane, else a new one
  bool has_priority = false;  // x-hadal-priority is there: the message's own class does not count
};

// Reads the metadata and checks the key. Whatever comes back, `out->info` is good enough for the call's record.
// INVALID_REQUEST for an unknown x-hadal-priority; else as ApiKeys::Authenticate.
absl::Status OpenCall(const grpc::CallbackServerContext& context, const CallEnvironment& environment,
                      std::string_view route, CallMetadata* out);

}  // namespace hadal::rpc
