// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/admission/wait_forecast.h"

namespace hadal::admission {

// What a model serves when there is always enough to do.
struct SteadyWork {
  StepTime step_time;             // known
  double max_batch_size = 0;      // sequences in a step
  double max_batch_tokens = 0;    // rows in a step
  double pool_blocks = 0;         // of the KV pool
  double prompt_tokens = 0;       // of a request, on average
  double computed_share = 1;      // of those: the others are found in the prefix cache
  double output_tokens = 1;       // of a request, on average; at least 1
  double blocks_per_request = 0;  // that it leases
};

// Requests per second that a full batch of such requests completes. A request takes one row of as many steps as it has
// output tokens, and its prompt's rows besides; the batch is bounded by places, rows and blocks. 0 without a place.
double SustainableRate(const SteadyWork& work);

}  // namespace hadal::admission
