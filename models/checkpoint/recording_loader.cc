// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/recording_loader.h"

#include "absl/strings/str_cat.h"

namespace hadal::checkpoint {
namespace {

using kernels::TensorView;

// Views of recorded parameters point here: not null, since a null view is an absent one.
alignas(64) constexpr char kNoMemory = 0;

// True for what a token multiplies with.
bool IsMultiplied(TensorRole role) {
  switch (role) {
    case TensorRole::kMatrix:
    case TensorRole::kOutputHead:
    case TensorRole::kRouter:
    case TensorRole::kExpert:
    case TensorRole::kPlainMatrix:
    case TensorRole::kFloat32Matrix:
      return true;
    case TensorRole::kEmbedding:
    case TensorRole::kNorm:
    case TensorRole::kBias:
    case TensorRole::kRouterBias:
    case TensorRole::kFloat32:
    case TensorRole::kExpertTable:
      return false;
  }
  return false;
}

int64_t Columns(const TensorSpec& spec) { return spec.shape.size() > 1 ? spec.shape[1] : 1; }

}  // namespace

absl::Status RecordingLoader::Record(const TensorSpec& spec) {
  // The limits of ParseModelConfig keep the elements of one tensor below kMaxElements.
  elements_ += spec.elements();
  if (elements_ > kMaxElements) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected sizes that make at most ", kMaxElements, " parameters, found ", elements_, " or more"));
  }
  specs_.push_back(spec);
  return absl::OkStatus();
}

LoadedTensor RecordingLoader::WithoutMemory(TensorRole role, const std::vector<int64_t>& shape) const {
  LoadedTensor tensor{.weight = KeptWeight(role, shape, compute_dtype_)};
  for (TensorView* part : {&tensor.weight.values, &tensor.weight.scales}) {
    if (part->present()) part->data = const_cast<char*>(&kNoMemory);
  }
  return tensor;
}

absl::StatusOr<LoadedTensor> RecordingLoader::Take(const TensorSpec& spec) {
  if (absl::Status status = Record(spec); !status.ok()) return status;
  return WithoutMemory(spec.role, spec.shape);
}

absl::StatusOr<LoadedTensor> RecordingLoader::TakeStacked(const std::vector<TensorSpec>& specs) {
  std::vector<int64_t> shape = specs.front().shape;
  shape[0] = 0;
  for (const TensorSpec& spec : specs) {
    if (absl::Status status = Record(spec); !status.ok()) return status;
    shape[0] += spec.shape[0];
  }
  return WithoutMemory(specs.front().role, shape);
}

absl::StatusOr<LoadedTensor> RecordingLoader::TakeGroups(const std::vector<std::vector<TensorSpec>>& groups) {
  int64_t rows = 0;
  for (const std::vector<TensorSpec>& group : groups) {
    rows = 0;
    for (const TensorSpec& spec : group) {
      if (absl::Status status = Record(spec); !status.ok()) return status;
      rows += spec.shape[0];
    }
  }
  const TensorSpec& first = groups.front().front();
  return WithoutMemory(first.role, {static_cast<int64_t>(groups.size()), rows, Columns(first)});
}

absl::StatusOr<LoadedTensor> RecordingLoader::TakeExpertTable(const TensorSpec& spec, int64_t) { return Take(spec); }

ParameterTotals CountParameters(const std::vector<TensorSpec>& specs, kernels::DType compute_dtype,
                                int64_t experts_per_token, int64_t routed_experts) {
  ParameterTotals totals;
  int64_t expert_elements = 0;
  for (const TensorSpec& spec : specs) {
    const int64_t elements = spec.elements();
    totals.parameters += elements;
    totals.bytes += KeptWeight(spec.role, spec.shape, compute_dtype).bytes();
    if (spec.role == TensorRole::kExpert) {
      expert_elements += elements;
    } else if (IsMultiplied(spec.role)) {
      totals.active += elements;
    }
  }
  // All experts have one size, so the division leaves nothing over.
  totals.active += expert_elements / routed_experts * experts_per_token;
  return totals;
}

}  // namespace hadal::checkpoint
