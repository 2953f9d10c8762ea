// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "models/checkpoint/weights.h"
#include "models/config/config.h"

namespace hadal::checkpoint {

// FNV-1a, 64 bits. `seed` chains calls.
inline constexpr uint64_t kFnvOffset = 0xcbf29ce484222325ull;
uint64_t Fnv1a(std::span<const std::byte> bytes, uint64_t seed = kFnvOffset);

// Identifies a model's weights: "fp_" and 16 hexadecimal digits over config.json, all headers and 64 bytes each of up
// to 256 tensors, so that two trainings of one shape differ although their headers agree. Stable across machines and
// runs.
std::string Fingerprint(const config::ModelConfig& config, const WeightStore& store);

}  // namespace hadal::checkpoint
