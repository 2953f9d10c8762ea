// SPDX-License-Identifier: Apache-2.0
#include "server/admission/admission_metrics.h"

#include <cmath>
#include <string>
#include <vector>

namespace hadal::admission {
namespace {

size_t Index(request::Priority priority) { return static_cast<size_t>(priority); }

}  // namespace

std::vector<base::LabelValues> AdmissionMetrics::RejectionSeries() {
  std::vector<base::LabelValues> series;
  for (const base::LabelValues& attempt : ClassAndLengthSeries()) {
    for (const request::Reason reason : {request::Reason::kConnectionQueueFull, request::Reason::kQueueTokensFull,
                                         request::Reason::kGpuMemoryExhausted, request::Reason::kPreemptedInQueue,
                                         request::Reason::kWaitLimit, request::Reason::kDeadlineInfeasible}) {
      series.push_back({attempt[0], attempt[1], std::string(request::ReasonName(reason))});
    }
  }
  return series;
}

std::vector<base::LabelValues> AdmissionMetrics::ReturnSeries() {
  std::vector<base::LabelValues> series;
  for (const char* timing : {"early", "in_window", "late"}) {
    for (const char* outcome : {"admitted", "refused"}) series.push_back({timing, outcome});
  }
  return series;
}

void AdmissionMetrics::CountReturn(ReturnTiming timing, bool admitted) {
  retry_returns_.At((static_cast<size_t>(timing) - 1) * 2 + (admitted ? 0 : 1)).Increment();
}

void AdmissionMetrics::CountGhost(const Ghosts::Verdict& verdict) {
  ghosts_.Get().Increment();
  if (verdict.served_in_time) false_refusals_.Get().Increment();
  if (verdict.ratio > 0) retry_error_.At(verdict.error < 0 ? 0 : 1).Observe(std::abs(verdict.error));
}

void AdmissionMetrics::CountAttempt(request::Priority priority, int64_t prompt_tokens) {
  attempts_.At(ClassAndLengthIndex(priority, prompt_tokens)).Increment();
}

void AdmissionMetrics::CountRefusal(request::Priority priority, int64_t prompt_tokens, request::Reason reason,
                                    absl::Duration retry_after) {
  rejections_
      .With({std::string(request::kPriorityNames[Index(priority)]), std::string(LengthClassName(prompt_tokens)),
             std::string(request::ReasonName(reason))})
      .Increment();
  retry_after_.At(Index(priority)).Observe(absl::ToDoubleSeconds(retry_after));
}

void AdmissionMetrics::ExportLoad(const AdmissionLoad& load) {
  requests_waiting_.Get().Set(static_cast<double>(load.waiting));
  for (size_t i = 0; i < request::kNumPriorities; ++i) {
    queue_depth_.At(i).Set(static_cast<double>(load.waiting_by_class[i]));
    queue_tokens_.At(i).Set(static_cast<double>(load.tokens_by_class[i]));
    predicted_wait_.At(i).Set(load.predicted_wait_by_class[i]);
  }
}

}  // namespace hadal::admission
