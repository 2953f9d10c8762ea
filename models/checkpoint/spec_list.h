// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "models/checkpoint/tensor_spec.h"

namespace hadal::checkpoint {

// Collects specs. Borrows the vector.
class SpecList {
 public:
  explicit SpecList(std::vector<TensorSpec>& specs) : specs_(specs) {}

  void Add(std::string name, std::vector<int64_t> shape, TensorRole role = TensorRole::kMatrix) {
    specs_.push_back({std::move(name), std::move(shape), role, false});
  }
  // A linear layer: name.weight [out, in] and, with a bias, name.bias [out].
  void Linear(const std::string& name, int64_t out, int64_t in, bool bias) {
    Add(absl::StrCat(name, ".weight"), {out, in});
    if (bias) Add(absl::StrCat(name, ".bias"), {out}, TensorRole::kBias);
  }
  void Norm(const std::string& name, int64_t width) { Add(absl::StrCat(name, ".weight"), {width}, TensorRole::kNorm); }
  // SwiGLU feed-forward part.
  void Mlp(const std::string& name, int64_t hidden, int64_t intermediate, bool bias) {
    Linear(absl::StrCat(name, ".gate_proj"), intermediate, hidden, bias);
    Linear(absl::StrCat(name, ".up_proj"), intermediate, hidden, bias);
    Linear(absl::StrCat(name, ".down_proj"), hidden, intermediate, bias);
  }

 private:
  std::vector<TensorSpec>& specs_;
};

}  // namespace hadal::checkpoint
