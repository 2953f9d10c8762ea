// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>

#include "server/admission/admission_log.h"
#include "server/admission/class_values.h"
#include "server/admission/priority_queue.h"
#include "server/admission/retry_planner.h"
#include "server/base/clock.h"
#include "server/base/flag_set.h"
#include "server/base/flag_values.h"
#include "server/base/metrics.h"

namespace hadal::admission {

struct AdmissionOptions {
  base::Clock* clock = base::Clock::Real();
  int64_t max_queue_requests = 512;                         // slots over all classes; at least 1
  int64_t max_queue_tokens = 0;                             // queued prompt tokens over all classes; 0 is off
  ByClass<double> class_floors = {0.125, 0.25, 0.0625, 0};  // share of the queue that a class can always have
  // Longest predicted wait in the queue; InfiniteDuration: none.
  ByClass<absl::Duration> wait_limits = {absl::Seconds(1), absl::Seconds(5), absl::Seconds(30),
                                         absl::InfiniteDuration()};
  double initial_tokens_per_byte = 0.3;              // first estimate of prompt tokens from body bytes
  double output_quantile = 0.7;                      // of the output lengths seen, that leases reserve at first
  QueueOrder order;                                  // of the classes; in a class by tenant
  SurplusRetry surplus_retry = SurplusRetry::kOnce;  // whether those return for whom no capacity is in sight
  double ghost_share = 0.01;                         // of the refusals, by which the hints are measured
  bool behind_gateway = false;                       // every client is a gateway, whatever it says
  uint64_t seed = 1;                                 // jitter of the retry hints
  LogSink log;                                       // refusals, first a reason and second, then a count; empty: none
  base::MetricRegistry* metrics = nullptr;           // outlives the controller; nullptr: not exported

  void AddFlags(base::FlagSet* flags) {
    flags->AddInt("max-queue-requests", &max_queue_requests, {0, std::numeric_limits<int>::max()},
                  "maximum waiting requests, across all classes");
    flags->AddInt("max-queue-tokens", &max_queue_tokens, {0, std::numeric_limits<int64_t>::max()},
                  "maximum waiting prompt tokens; 0 means no limit");
    flags->Add({.name = "class-floors",
                .help = "share of the queue's slots and tokens that a class can always have; others borrow what it "
                        "does not use",
                .default_text = ClassSharesText(class_floors),
                .set = [this](const std::string& text) { return ParseClassShares(text, &class_floors); },
                .value_name = "CLASS=SHARE,..."});
    flags->Add({.name = "wait-limits",
                .help = "longest predicted wait of a class until a request has a place and the prompts ahead are "
                        "computed; who would wait longer is refused",
                .default_text = ClassDurationsText(wait_limits),
                .set = [this](const std::string& text) { return ParseClassDurations(text, &wait_limits); },
                .value_name = "CLASS=DURATION,..."});
    flags->Add({.name = "class-step",
                .help = "a waiting request is overtaken only by those of the next more urgent class that arrive within "
                        "this time of it; never: strictly by class",
                .default_text = base::DurationText(order.class_step),
                .set =
                    [this](const std::string& text) {
                      if (text == "never") {
                        order.class_step = absl::InfiniteDuration();
                        return absl::OkStatus();
                      }
                      const absl::StatusOr<absl::Duration> step = base::ParseDuration(text);
                      if (step.ok()) order.class_step = *step;
                      return step.status();
                    },
                .value_name = "DURATION|never"});
    flags->AddEnum("surplus-retry", &surplus_retry,
                   {{"once", SurplusRetry::kOnce}, {"allow", SurplusRetry::kAllow}, {"deny", SurplusRetry::kDeny}},
                   "what a client is told for which no capacity is in sight in the next 30 s: to return once, always "
                   "(allow), or not at all (deny)");
    flags->AddSwitch("behind-gateway", &behind_gateway,
                     "only gateways reach this server: hints are its next free moment, not a client's own turn");
  }
};

}  // namespace hadal::admission
