// SPDX-License-Identifier: Apache-2.0
#include "server/admission/forecast_thread.h"

#include <pthread.h>

namespace hadal::admission {

ForecastThread::ForecastThread(AdmissionController* admission, base::Clock* clock) {
  admission->SetForecastWake(wake_);
  thread_ = std::thread([this, admission, clock] {
    while (!stop_.load(std::memory_order_acquire)) {
      if (wake_->Wait(absl::InfiniteDuration()) != 0) admission->UpdateForecast(clock->Now());
    }
  });
  pthread_setname_np(thread_.native_handle(), "forecast");
}

ForecastThread::~ForecastThread() {
  stop_.store(true, std::memory_order_release);
  wake_->Notify(request::WakeSignal::kControl);
  thread_.join();
}

}  // namespace hadal::admission
