// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <thread>

#include "server/admission/admission.h"
#include "server/request/wake_signal.h"

namespace hadal::admission {

// Renews the forecasts on its own thread when the engine reports that one is due, so that no step waits for a replay.
// Created before the engines start and destroyed after they have stopped; the controller outlives it.
class ForecastThread {
 public:
  // Forecasts are made at the time of `clock`.
  ForecastThread(AdmissionController* admission, base::Clock* clock);
  ~ForecastThread();

 private:
  std::atomic<bool> stop_{false};
  const std::shared_ptr<request::WakeSignal> wake_ = std::make_shared<request::WakeSignal>();
  std::thread thread_;
};

}  // namespace hadal::admission
