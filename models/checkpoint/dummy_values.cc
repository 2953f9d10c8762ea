// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/dummy_values.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "kernels/half.h"
#include "models/checkpoint/fingerprint.h"

namespace hadal::checkpoint {
namespace {

// A prime, so that rows of usual lengths start at different places of the period.
constexpr int64_t kPeriod = 65521;
constexpr float kAmplitude = 0.0346f;  // 0.02 * sqrt(3)

uint64_t SplitMix64(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

void Store(float value, kernels::DType dtype, uint8_t* out) {
  if (dtype == kernels::DType::kBF16) {
    const kernels::BF16 rounded = kernels::ToBF16(value);
    std::memcpy(out, &rounded, sizeof(rounded));
  } else if (dtype == kernels::DType::kF16) {
    const kernels::F16 rounded = kernels::ToF16(value);
    std::memcpy(out, &rounded, sizeof(rounded));
  } else {
    std::memcpy(out, &value, sizeof(value));
  }
}

}  // namespace

DummyValues::DummyValues(uint64_t seed, kernels::DType dtype)
    : seed_(seed), element_bytes_(kernels::DTypeBytes(dtype)) {
  values_.resize(static_cast<size_t>(kPeriod * element_bytes_));
  norms_.resize(values_.size());
  uint64_t state = seed;
  for (int64_t i = 0; i < kPeriod; ++i) {
    const float unit = static_cast<float>(SplitMix64(state) >> 40) * 0x1p-23f - 1.0f;  // [-1, 1)
    Store(unit * kAmplitude, dtype, &values_[static_cast<size_t>(i * element_bytes_)]);
    Store(1.0f + unit * kAmplitude, dtype, &norms_[static_cast<size_t>(i * element_bytes_)]);
  }
}

void DummyValues::Fill(const TensorSpec& spec, int64_t begin, int64_t count, void* out) const {
  const std::vector<uint8_t>& source = spec.role == TensorRole::kNorm ? norms_ : values_;
  uint64_t state = Fnv1a(std::as_bytes(std::span(spec.name.data(), spec.name.size())), seed_ ^ kFnvOffset);
  int64_t position = static_cast<int64_t>((SplitMix64(state) + static_cast<uint64_t>(begin)) % kPeriod);
  auto* target = static_cast<uint8_t*>(out);
  while (count > 0) {
    const int64_t run = std::min(count, kPeriod - position);
    std::memcpy(target, &source[static_cast<size_t>(position * element_bytes_)],
                static_cast<size_t>(run * element_bytes_));
    target += run * element_bytes_;
    count -= run;
    position = 0;
  }
}

}  // namespace hadal::checkpoint
