// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "client/attempt_loop.h"
#include "client/batch_client.h"

namespace hadal::client {

// A file from a byte on through all attempts, each of which goes on where the one before broke off.
std::unique_ptr<Download> MakeDownload(std::shared_ptr<Connections> connections, absl::Time deadline,
                                       const std::string& file, int64_t offset);

}  // namespace hadal::client
