// SPDX-License-Identifier: Apache-2.0
#include "client/run_soon.h"

#include <grpcpp/alarm.h>

#include <chrono>
#include <utility>

namespace hadal::client {

void RunSoon(std::function<void()> then) {
  auto* const alarm = new grpc::Alarm;
  alarm->Set(std::chrono::system_clock::now(), [alarm, then = std::move(then)](bool) {
    delete alarm;  // it counts references to what runs this function
    then();
  });
}

}  // namespace hadal::client
