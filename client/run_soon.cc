// SPDX-License-Identifier: Apache-2.0
#include "client/run_soon.h"

#include <grpcpp/alarm.h>

#include <utility>

#include "absl/time/clock.h"

namespace hadal::client {

void RunSoon(std::function<void()> then) { RunAfter(absl::ZeroDuration(), std::move(then)); }

void RunAfter(absl::Duration wait, std::function<void()> then) {
  auto* const alarm = new grpc::Alarm;
  alarm->Set(absl::ToChronoTime(absl::Now() + wait), [alarm, then = std::move(then)](bool) {
    delete alarm;  // it counts references to what runs this function
    then();
  });
}

}  // namespace hadal::client
