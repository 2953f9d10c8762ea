// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "models/layer_range.h"

namespace hadal::plan {

// Divides layers among `parts` parts so that the largest holds as little as possible; `bytes` are those of each layer,
// embedding and head counted with the first and the last. Every part gets a layer: InvalidArgument for more parts than
// layers, or less than one.
absl::StatusOr<std::vector<models::LayerRange>> SplitLayersByBytes(absl::Span<const int64_t> bytes, int parts);

// Parts of as many layers as `counts` say. InvalidArgument for a count below 1 and when they do not add up to `layers`.
absl::StatusOr<std::vector<models::LayerRange>> SplitLayersByCounts(int64_t layers, absl::Span<const int64_t> counts);

}  // namespace hadal::plan
