// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "models/registry.h"

namespace hadal::models::testing {

// A model whose layers are divided among `parts` parts of this process, one handing each step on to the next.
inline absl::StatusOr<std::unique_ptr<Model>> LoadInParts(LoadOptions options, int parts) {
  const absl::StatusOr<std::vector<LayerRange>> ranges = DivideLayers(options, parts, {});
  if (!ranges.ok()) return ranges.status();
  std::unique_ptr<ModelRest> rest;
  for (int i = parts - 1; i > 0; --i) {
    options.layers = (*ranges)[i];
    absl::StatusOr<std::unique_ptr<ModelPart>> part = LoadPart(options);
    if (!part.ok()) return part.status();
    rest = std::make_unique<PartChain>(*std::move(part), std::move(rest));
  }
  options.layers = ranges->front();
  absl::StatusOr<std::unique_ptr<ModelPart>> first = LoadPart(options);
  if (!first.ok()) return first.status();
  return MakeModel(*std::move(first), std::move(rest));
}

}  // namespace hadal::models::testing
