// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "models/families/network_outline.h"
#include "models/registry.h"

namespace hadal::models::testing {

// What the configuration's family makes of it, with bf16 weights.
inline std::shared_ptr<NetworkOutline> Outline(const config::ModelConfig& config) {
  const absl::StatusOr<const Family*> family = FindFamily(config.architecture);
  EXPECT_TRUE(family.ok()) << family.status();
  auto outline = NetworkOutline::Create(**family, config, kernels::DType::kBF16);
  EXPECT_TRUE(outline.ok()) << outline.status();
  return *std::move(outline);
}

// Every tensor that a checkpoint of the configuration holds.
inline std::vector<checkpoint::TensorSpec> ExpectedTensors(const config::ModelConfig& config) {
  return Outline(config)->tensors();
}

}  // namespace hadal::models::testing
