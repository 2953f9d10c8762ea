// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/base/clock.h"
#include "server/engine/batch_plan.h"
#include "server/engine/engine_observer.h"

namespace hadal::engine {

// Sets SampleRow::allowed_tokens of the plan's rows whose sequences follow a grammar. Called last before Launch, when
// every token of those sequences is known and accepted. If a constraint fails, its row gets an empty mask and its
// sequence the error, so that the model reports only that row as faulty.
//
// min_tokens forbids the end tokens, but not where the grammar is complete and leaves nothing else.
MaskFacts FillTokenMasks(const base::Clock& clock, int32_t vocab_size, BatchPlan& plan);

}  // namespace hadal::engine
