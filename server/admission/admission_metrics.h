// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "server/admission/admission_load.h"
#include "server/base/metrics.h"
#include "server/request/refusal.h"
#include "server/request/request.h"

namespace hadal::admission {

// The metrics of the queue and of who may enter it. Thread-safe; `registry` may be null, else it outlives this.
class AdmissionMetrics {
 public:
  explicit AdmissionMetrics(base::MetricRegistry* registry) : registry_(registry) {}

  // A request asked for a queue slot. Lock-free.
  void CountAttempt(request::Priority priority, int64_t prompt_tokens);
  void CountRefusal(request::Priority priority, int64_t prompt_tokens, request::Reason reason,
                    absl::Duration retry_after);
  // Sets the levels; for a scrape.
  void ExportLoad(const AdmissionLoad& load);

 private:
  static constexpr double kRetryAfterBuckets[] = {1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 25, 30};

  // Each class with each length class; with the reasons of a busy server as well.
  static std::vector<base::LabelValues> AttemptSeries();
  static std::vector<base::LabelValues> RejectionSeries();

  base::MetricRegistry* const registry_;

  base::Family<base::Gauge> requests_waiting_{registry_,
                                              {"hadal_requests_waiting", "Requests admitted and not yet running."}};
  base::Family<base::Gauge> queue_depth_{registry_,
                                         {.name = "hadal_queue_depth",
                                          .help = "Requests waiting, by class.",
                                          .labels = {"class"},
                                          .series = base::SeriesOf(request::kPriorityNames)}};
  base::Family<base::Gauge> queue_tokens_{registry_,
                                          {.name = "hadal_queue_tokens",
                                           .help = "Prompt tokens waiting, by class.",
                                           .labels = {"class"},
                                           .series = base::SeriesOf(request::kPriorityNames)}};
  base::Family<base::Gauge> predicted_wait_{registry_,
                                            {.name = "hadal_predicted_wait_seconds",
                                             .help = "Expected time in the queue of an arrival now.",
                                             .labels = {"class"},
                                             .series = base::SeriesOf(request::kPriorityNames)}};
  base::Family<base::Counter> attempts_{registry_,
                                        {.name = "hadal_admission_attempts_total",
                                         .help = "Requests that asked for a queue slot.",
                                         .labels = {"class", "length_class"},
                                         .series = AttemptSeries()}};
  base::Family<base::Counter> rejections_{registry_,
                                          {.name = "hadal_admission_rejections_total",
                                           .help = "Requests refused.",
                                           .labels = {"class", "length_class", "reason"},
                                           .series = RejectionSeries()}};
  base::Family<base::Histogram> retry_after_{registry_,
                                             {.name = "hadal_retry_after_seconds",
                                              .help = "Retry hints given.",
                                              .labels = {"class"},
                                              .series = base::SeriesOf(request::kPriorityNames),
                                              .buckets = kRetryAfterBuckets}};
};

}  // namespace hadal::admission
