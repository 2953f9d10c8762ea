// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/fingerprint.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace hadal::checkpoint {
namespace {

constexpr size_t kSampledTensors = 256;
constexpr size_t kSampledBytes = 64;

uint64_t Chain(uint64_t value, uint64_t seed) { return Fnv1a(std::as_bytes(std::span(&value, 1)), seed); }

}  // namespace

uint64_t Fnv1a(std::span<const std::byte> bytes, uint64_t seed) {
  uint64_t hash = seed;
  for (std::byte byte : bytes) {
    hash ^= static_cast<uint64_t>(byte);
    hash *= 0x100000001b3ull;
  }
  return hash;
}

std::string Fingerprint(const config::ModelConfig& config, const WeightStore& store) {
  uint64_t hash = Fnv1a(std::as_bytes(std::span(config.source_text.data(), config.source_text.size())));
  if (store.is_dummy()) hash = Chain(store.dummy_seed(), Chain(1, hash));
  size_t tensors = 0;
  for (const auto& file : store.files()) {
    hash = Chain(file->header_hash(), hash);
    tensors += file->tensors().size();
  }
  const size_t step = std::max<size_t>(1, (tensors + kSampledTensors - 1) / kSampledTensors);
  size_t index = 0;
  for (const auto& file : store.files()) {
    for (const TensorEntry& entry : file->tensors()) {
      if (index++ % step != 0) continue;
      const size_t count = std::min(kSampledBytes, entry.bytes.size());
      hash = Fnv1a(entry.bytes.subspan((entry.bytes.size() - count) / 2, count), hash);
    }
  }
  return absl::StrFormat("fp_%016x", hash);
}

}  // namespace hadal::checkpoint
