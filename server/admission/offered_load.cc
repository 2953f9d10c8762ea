// SPDX-License-Identifier: Apache-2.0
#include "server/admission/offered_load.h"

#include <algorithm>

namespace hadal::admission {

double SustainableRate(const SteadyWork& work) {
  const double output = std::max(1.0, work.output_tokens);
  const double prompt = work.prompt_tokens * work.computed_share;
  double sequences = work.max_batch_size;
  if (work.blocks_per_request > 0) sequences = std::min(sequences, work.pool_blocks / work.blocks_per_request);
  // Each sequence decodes one row, and brings the prompt of its successor once in `output` steps.
  const double rows_per_sequence = 1 + prompt / output;
  sequences = std::min(sequences, work.max_batch_tokens / rows_per_sequence);
  if (sequences <= 0) return 0;
  // On average half of an answer is in its context.
  const double context = sequences * (work.prompt_tokens + output / 2);
  const double per_step = sequences / output;
  return per_step / work.step_time.Seconds(sequences, context, per_step * prompt);
}

}  // namespace hadal::admission
