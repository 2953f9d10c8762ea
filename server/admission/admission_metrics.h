// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "server/admission/admission_load.h"
#include "server/admission/ghosts.h"
#include "server/admission/length_class.h"
#include "server/admission/promise_ledger.h"
#include "server/admission/return_ticket.h"
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
  // A client that was told when to return is back.
  void CountReturn(ReturnTiming timing, bool admitted);
  // A refused client was given a ticket; it got an answer in place of it; a client has brought one.
  void CountTicketIssued() { tickets_.At(0).Increment(); }
  void CountTicketWithdrawn() { tickets_.At(5).Increment(); }
  void CountTicket(TicketState state) { tickets_.At(1 + static_cast<size_t>(state)).Increment(); }
  // A refusal that was followed has had its turn.
  void CountGhost(const Ghosts::Verdict& verdict);
  // A request was let in whose prompt has so many blocks of its own and so many that others have leased.
  void CountPromptBlocks(int64_t leased, int64_t shared) {
    prompt_blocks_.At(0).Increment(leased);
    prompt_blocks_.At(1).Increment(shared);
  }
  // A prompt was tokenised: it has so many tokens where so many had been estimated from the size of its body.
  void CountEstimate(int64_t estimated, int64_t tokens) {
    estimate_.Get().Observe(static_cast<double>(tokens) / static_cast<double>(std::max<int64_t>(1, estimated)));
  }
  // By that the queue holds more tokens than it may.
  void CountTokenOverrun() { token_overruns_.Get().Increment(); }
  // An answer became longer than its lease, and was leased more or not.
  void CountExtension(bool granted) { extensions_.At(granted ? 0 : 1).Increment(); }
  // Sets the levels; for a scrape.
  void ExportLoad(const AdmissionLoad& load);
  // Of offered to sustainable tokens per second.
  void ExportOfferedLoad(double ratio) { offered_load_.Get().Set(ratio); }
  void ExportReserve(const std::string& model, double deviations, double quantile) {
    deviations_.With({model}).Set(deviations);
    quantile_.With({model}).Set(quantile);
  }

 private:
  static constexpr double kErrorBuckets[] = {0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5};
  static constexpr double kEstimateBuckets[] = {0.1, 0.25, 0.5, 0.75, 0.9, 1.1, 1.33, 2, 4, 10};
  static constexpr double kRetryAfterBuckets[] = {1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 25, 30};

  // Each class with each length class and each reason of a busy server.
  static std::vector<base::LabelValues> RejectionSeries();
  static std::vector<base::LabelValues> ReturnSeries();

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
  base::Family<base::Gauge> offered_load_{
      registry_, {"hadal_offered_load_ratio", "Tokens asked for per second, of those that can be served."}};
  base::Family<base::Counter> attempts_{registry_,
                                        {.name = "hadal_admission_attempts_total",
                                         .help = "Requests that asked for a queue slot.",
                                         .labels = {"class", "length_class"},
                                         .series = ClassAndLengthSeries()}};
  base::Family<base::Counter> rejections_{registry_,
                                          {.name = "hadal_admission_rejections_total",
                                           .help = "Requests refused.",
                                           .labels = {"class", "length_class", "reason"},
                                           .series = RejectionSeries()}};
  base::Family<base::Counter> retry_returns_{registry_,
                                             {.name = "hadal_retry_returns_total",
                                              .help = "Refused clients that came back, by whether at the time told.",
                                              .labels = {"timing", "outcome"},
                                              .series = ReturnSeries()}};
  base::Family<base::Counter> tickets_{
      registry_,
      {.name = "hadal_retry_tickets_total",
       .help = "Tickets given to refused clients, and what became of those brought.",
       .labels = {"outcome"},
       .series = {{"issued"}, {"accepted"}, {"used"}, {"expired"}, {"forged"}, {"withdrawn"}}}};
  base::Family<base::Histogram> retry_error_{
      registry_,
      {.name = "hadal_retry_after_error_ratio",
       .help = "Error of estimated waits, as a share of the true wait; early: the turn came later than told.",
       .labels = {"side"},
       .series = {{"early"}, {"late"}},
       .buckets = kErrorBuckets}};
  base::Family<base::Counter> ghosts_{
      registry_,
      {"hadal_retry_ghosts_total", "Refusals that were followed until their turn came and their wait limit was over."}};
  base::Family<base::Counter> false_refusals_{
      registry_,
      {"hadal_false_refusals_total", "Those that could have been served in time in addition to all that were."}};
  base::Family<base::Histogram> estimate_{registry_,
                                          {.name = "hadal_prompt_estimate_ratio",
                                           .help = "Tokens of a prompt, relative to the estimate that admitted it.",
                                           .buckets = kEstimateBuckets}};
  base::Family<base::Counter> token_overruns_{
      registry_,
      {"hadal_queue_token_overruns_total", "Prompts that took the queue above its limit of tokens once tokenised."}};
  base::Family<base::Counter> prompt_blocks_{
      registry_,
      {.name = "hadal_lease_prompt_blocks_total",
       .help = "KV blocks of admitted prompts: leased for the request, or shared with others that lease them.",
       .labels = {"kind"},
       .series = {{"leased"}, {"shared"}}}};
  base::Family<base::Counter> extensions_{
      registry_,
      {.name = "hadal_lease_extensions_total",
       .help = "Answers that became longer than their lease, by whether the pool had more.",
       .labels = {"outcome"},
       .series = {{"granted"}, {"refused"}}}};
  base::Family<base::Gauge> deviations_{
      registry_,
      {.name = "hadal_lease_deviations",
       .help = "Standard deviations that leases of long answers reserve beyond their expected joint need.",
       .labels = {"model"}}};
  base::Family<base::Gauge> quantile_{registry_,
                                      {.name = "hadal_lease_quantile_ratio",
                                       .help = "Quantile of the output lengths seen that fixed leases reserve.",
                                       .labels = {"model"}}};
  base::Family<base::Histogram> retry_after_{registry_,
                                             {.name = "hadal_retry_after_seconds",
                                              .help = "Retry hints given.",
                                              .labels = {"class"},
                                              .series = base::SeriesOf(request::kPriorityNames),
                                              .buckets = kRetryAfterBuckets}};
};

}  // namespace hadal::admission
