// SPDX-License-Identifier: Apache-2.0
#include "server/commands/leave.h"

#include <cstdlib>
#include <memory>
#include <system_error>
#include <thread>

#include "absl/time/time.h"
#include "models/registry.h"
#include "server/base/log.h"
#include "server/base/notification.h"

namespace hadal::commands {
namespace {

constexpr absl::Duration kSettleTimeout = absl::Seconds(2);  // with a GPU that may hang

}  // namespace

void LeaveAtOnce(int exit_code) {
  base::ShutdownLogging();
  const auto settled = std::make_shared<base::Notification>();
  try {
    std::thread([settled] {
      models::SettleDevices();
      settled->Notify();
    }).detach();
    settled->WaitFor(kSettleTimeout);
  } catch (const std::system_error&) {
    // No thread to be had: the process ends all the same.
  }
  std::_Exit(exit_code);
}

}  // namespace hadal::commands
