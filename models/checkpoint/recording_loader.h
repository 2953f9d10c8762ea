// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "models/checkpoint/parameter_loader.h"

namespace hadal::checkpoint {

// Collects what the blocks of a network declare, in the order of their calls. What they get has shape and type but no
// memory: its address must not be read. Thread-compatible.
class RecordingLoader : public ParameterLoader {
 public:
  // InvalidArgument from any call that brings the declared elements above this: far beyond any model, and low enough
  // that no sum over the declarations overflows.
  static constexpr int64_t kMaxElements = int64_t{1} << 50;

  explicit RecordingLoader(kernels::DType compute_dtype) : compute_dtype_(compute_dtype) {}

  const std::vector<TensorSpec>& specs() const { return specs_; }
  int64_t table_bytes() const { return table_bytes_; }

  kernels::DType compute_dtype() const override { return compute_dtype_; }
  absl::StatusOr<LoadedTensor> Take(const TensorSpec& spec) override;
  absl::StatusOr<LoadedTensor> TakeStacked(const std::vector<TensorSpec>& specs) override;
  absl::StatusOr<LoadedTensor> TakeGroups(const std::vector<std::vector<TensorSpec>>& groups) override;
  absl::StatusOr<LoadedTensor> TakeExpertTable(const TensorSpec& spec, int64_t experts) override;
  bool DeclareTable(int64_t bytes) override {
    table_bytes_ += bytes;
    return false;
  }

 private:
  absl::Status Record(const TensorSpec& spec);
  LoadedTensor WithoutMemory(TensorRole role, const std::vector<int64_t>& shape) const;

  kernels::DType compute_dtype_;
  std::vector<TensorSpec> specs_;
  int64_t elements_ = 0;
  int64_t table_bytes_ = 0;
};

// What declarations add up to.
struct ParameterTotals {
  int64_t parameters = 0;  // entries of expert tables included
  // In matrices that one token multiplies with: no embedding rows, norms and biases; of the routed experts those that
  // it is sent to.
  int64_t active = 0;
  int64_t bytes = 0;  // held for the compute type
};

// `experts_per_token` of `routed_experts` work on a token; both 1 without experts.
ParameterTotals CountParameters(const std::vector<TensorSpec>& specs, kernels::DType compute_dtype,
                                int64_t experts_per_token, int64_t routed_experts);

}  // namespace hadal::checkpoint
