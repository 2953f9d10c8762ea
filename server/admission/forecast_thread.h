// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <thread>

#include "server/admission/admission.h"
#include "server/request/wake_signal.h"

namespace hadal::admission {

// Renews the forecasts on a thread of its own, whenever the engine says that one is due, so that no step waits for a
// replay. Made before the engines start and destroyed after they have stopped; the controller outlives it.
class ForecastThread {
 public:
  // `clock` gives the forecasts their time.
  ForecastThread(AdmissionController* admission, base::Clock* clock);
  ~ForecastThread();

 private:
  std::atomic<bool> stop_{false};
  const std::shared_ptr<request::WakeSignal> wake_ = std::make_shared<request::WakeSignal>();
  std::thread thread_;
};

}  // namespace hadal::admission
