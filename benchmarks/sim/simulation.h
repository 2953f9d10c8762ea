// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "benchmarks/sim/device.h"
#include "benchmarks/sim/workload.h"
#include "server/admission/admission_options.h"
#include "server/engine/engine_options.h"
#include "server/request/refusal.h"

namespace hadal::sim {

// By what the server knows a caller when it returns.
enum class KnownBy : uint8_t {
  kKey,      // an idempotency key of its own
  kAttempt,  // all callers have one address, but count their attempts
  kLength,   // all callers have one address and count nothing: the length of the body is left
  kNothing,  // and all bodies have the same length
  kRetry,    // one address, no lengths, but further attempts say that they are: as over gRPC
};

// One run of the server's own admission controller and step loop on a virtual clock.
struct Experiment {
  DeviceSpec device;
  WorkloadSpec workload;
  std::string client = "none";       // model of the callers: bench::MakeRetryPolicy
  KnownBy known_by = KnownBy::kKey;  // of clients that obey; others have an address each, or their tenant's
  absl::Duration lateness;           // with which a caller returns after the moment it was told: the mean, exponential
  int max_tries = 5;                 // of a caller, the first included; 0: as many as the model has
  int batch_lines = 0;               // of a batch that runs beside the callers, in flight at most; 0: there is none
  admission::AdmissionOptions admission;  // clock and seed are set by Simulate
  bool lease_memory = true;               // false: leases never run out, as on a server that does not count memory
  int32_t max_tokens = 4096;              // what callers ask for; they do not know how long their output becomes
  absl::Duration step_time_target = engine::EngineOptions().step_time_target;
  uint64_t seed = 1;
};

// A refusal as its caller saw it.
struct Refusal {
  absl::Duration at;  // since the start of the run, as all times here
  request::Reason reason = request::Reason::kNone;
  absl::Duration hint = absl::InfiniteDuration();
  bool promised = false;  // capacity is reserved for its caller (x-hadal-promise: held)
};

// What became of a call.
struct Outcome {
  Call call;
  int tries = 0;
  std::vector<Refusal> refusals;
  absl::Duration admitted = absl::InfiniteDuration();  // of the try that was let in
  absl::Duration first_token = absl::InfiniteDuration();
  absl::Duration last_token = absl::InfiniteDuration();
  std::vector<float> gaps_s;                           // between one token and the next
  absl::Duration finished = absl::InfiniteDuration();  // with its whole output
  absl::Status failure;                                // after it was admitted, or a refusal for good
};

// The server's own verdict on its refusals.
struct Verdicts {
  // Refusals that it followed, and those of them that it could have served.
  int64_t ghosts = 0, false_refusals = 0;
  // Of the estimates that it judged, by hadal_retry_after_error_ratio: how many were off by at most the bound, which is
  // a share of the true wait. Both sides together, in the order of the bounds; the last bound is infinite.
  std::vector<std::pair<double, int64_t>> estimate_errors;
};

struct RunResult {
  std::vector<Outcome> outcomes;  // in the order of arrival
  absl::Duration duration;        // until the last outcome
  absl::Duration busy;            // of the device
  int64_t steps = 0;
  int64_t computed_tokens = 0;                       // rows that the device ran
  int64_t recomputed_tokens = 0;                     // of them, those that preemption had thrown away
  int64_t preemptions = 0;                           // of sequences, for lack of memory
  int64_t set_aside = 0;                             // sequences of a batch that left their places to others
  int64_t prompt_tokens = 0, prefix_hit_tokens = 0;  // of started calls; of them, found in the prefix cache
  int64_t running_high_water = 0;                    // sequences
  double output_quantile = 0;                        // that leases reserve at the end
  int64_t waiting_high_water = 0;                    // requests
  Verdicts verdicts;
  // As they were when the arrivals ended. Afterwards all waits are shorter than could be foreseen.
  Verdicts verdicts_under_load;
};

// Runs until every call has its outcome. InvalidArgument for options that admission or the engine refuse.
absl::StatusOr<RunResult> Simulate(const Experiment& experiment);

}  // namespace hadal::sim
