// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/weight_view.h"
#include "models/checkpoint/tensor_spec.h"

namespace hadal::checkpoint {

// A tensor that the backend can compute with, and what keeps its memory alive (a file mapping or a backend buffer).
// Contiguous, read-only. Copyable; the memory goes when the last copy goes. The backend must outlive it.
struct LoadedTensor {
  kernels::WeightView weight;  // plain for all that is no matrix: norms, biases, tables
  std::shared_ptr<const void> storage;
  bool zero_copy = false;  // the values lie in the file's mapping

  const kernels::TensorView& view() const { return weight.values; }
};

// Where the blocks of a network take their parameters from. A block declares each one where it takes it, and nowhere
// else: WeightLoader brings the values, RecordingLoader collects the declarations, from which follow the tensors that
// a checkpoint must hold, the counts of parameters and the bytes of weights and tables.
class ParameterLoader {
 public:
  virtual ~ParameterLoader() = default;

  virtual kernels::DType compute_dtype() const = 0;

  // The parameter in its declared shape, as KeptWeight of its role.
  virtual absl::StatusOr<LoadedTensor> Take(const TensorSpec& spec) = 0;

  // Matrices of equal columns one below the other, [sum of rows, columns], or vectors end to end. One role for all.
  virtual absl::StatusOr<LoadedTensor> TakeStacked(const std::vector<TensorSpec>& specs) = 0;

  // [groups, rows, columns]: group g is TakeStacked(groups[g]). All groups have the same number of rows.
  virtual absl::StatusOr<LoadedTensor> TakeGroups(const std::vector<std::vector<TensorSpec>>& groups) = 0;

  // A kExpertTable, as i32. InvalidArgument names the token and the value when an entry is no expert in [0, experts).
  virtual absl::StatusOr<LoadedTensor> TakeExpertTable(const TensorSpec& spec, int64_t experts) = 0;

  // Declares memory that a block keeps besides its parameters and fills itself, for example rotary tables. False when
  // declarations are only collected: then nobody reads what would be filled in.
  virtual bool DeclareTable(int64_t bytes) = 0;
};

}  // namespace hadal::checkpoint
