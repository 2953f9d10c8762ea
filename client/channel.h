// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "client/attempt_loop.h"
#include "client/client.h"

namespace hadal::client {

// InvalidArgument names the option that cannot be.
absl::Status CheckOptions(const ChannelOptions& options);
// The servers of options that CheckOptions has found right. With `connect_ahead` connections are begun, but not waited
// for; clients of one process with the same options share those that gRPC makes.
std::shared_ptr<Connections> OpenConnections(const ChannelOptions& options);

}  // namespace hadal::client
