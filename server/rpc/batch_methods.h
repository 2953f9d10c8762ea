// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/generic/async_generic_service.h>

#include <memory>

#include "server/rpc/server_call.h"

namespace hadal::rpc {

// The call of a method of hadal.v1.Batches; null for another method.
std::shared_ptr<ServerCall> MakeBatchCall(const CallEnvironment* environment,
                                          grpc::GenericCallbackServerContext* context);

}  // namespace hadal::rpc
