// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/grouped_linear.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {
namespace {

int64_t Address(const kernels::TensorView& view) { return static_cast<int64_t>(reinterpret_cast<intptr_t>(view.data)); }

checkpoint::TensorSpec Weight(const std::string& prefix, int64_t expert, const std::string& part,
                              const GroupedLinear::Shape& shape) {
  return {
      absl::StrCat(prefix, ".", expert, ".", part, ".weight"), {shape.out, shape.in}, checkpoint::TensorRole::kExpert};
}

}  // namespace

absl::StatusOr<GroupedLinear> GroupedLinear::Load(const LoadContext& context, const std::string& prefix,
                                                  const std::vector<std::string>& parts, const Shape& shape) {
  const int64_t experts = shape.experts;
  GroupedLinear grouped;
  grouped.dtype_ = context.dtype();
  std::vector<std::vector<int64_t>> addresses;  // [parts][experts]
  if (context.backend.host_accessible()) {
    for (const std::string& part : parts) {
      std::vector<int64_t>& list = addresses.emplace_back();
      for (int64_t e = 0; e < experts; ++e) {
        HADAL_ASSIGN_OR_RETURN(checkpoint::LoadedTensor weight, context.loader.Take(Weight(prefix, e, part, shape)));
        list.push_back(Address(weight.view));
        grouped.weights_.push_back(std::move(weight));
      }
      grouped.parts_.push_back({shape.out, {}});
    }
  } else {
    std::vector<std::vector<checkpoint::TensorSpec>> groups(experts);
    for (int64_t e = 0; e < experts; ++e) {
      for (const std::string& part : parts) groups[e].push_back(Weight(prefix, e, part, shape));
    }
    HADAL_ASSIGN_OR_RETURN(checkpoint::LoadedTensor weights, context.loader.TakeGroups(groups));  // [experts, out, in]
    std::vector<int64_t>& list = addresses.emplace_back();
    for (int64_t e = 0; e < experts; ++e) list.push_back(Address(weights.view.At(e)));
    grouped.parts_.push_back({weights.view.size(1), {}});
    grouped.weights_.push_back(std::move(weights));
  }
  return FromAddresses(context, std::move(grouped), addresses);
}

absl::StatusOr<GroupedLinear> GroupedLinear::FromAddresses(const LoadContext& context, GroupedLinear grouped,
                                                           const std::vector<std::vector<int64_t>>& addresses) {
  const int64_t experts = static_cast<int64_t>(addresses[0].size());
  const int64_t bytes = experts * kernels::DTypeBytes(kernels::DType::kI64);
  HADAL_ASSIGN_OR_RETURN(grouped.addresses_,
                         context.backend.Allocate(bytes * static_cast<int64_t>(grouped.parts_.size())));
  for (size_t i = 0; i < grouped.parts_.size(); ++i) {
    char* target = static_cast<char*>(grouped.addresses_.data()) + static_cast<int64_t>(i) * bytes;
    HADAL_RETURN_IF_ERROR(context.backend.Upload(target, addresses[i].data(), bytes));
    grouped.parts_[i].addresses = kernels::TensorView(target, kernels::DType::kI64, {experts});
  }
  return grouped;
}

absl::Status GroupedLinear::Forward(kernels::Backend& backend, const kernels::TensorView& x,
                                    const kernels::TensorView& expert_start, const kernels::TensorView& out) const {
  int64_t column = 0;
  for (const Part& part : parts_) {
    HADAL_RETURN_IF_ERROR(backend.GroupedGemm({.x = x,
                                               .expert_start = expert_start,
                                               .weights = part.addresses,
                                               .out = out.Slice(1, column, part.out_features),
                                               .weight_dtype = dtype_}));
    column += part.out_features;
  }
  return absl::OkStatus();
}

}  // namespace hadal::models
