// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/grouped_linear.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {
namespace {

using kernels::TensorView;
using kernels::WeightView;

checkpoint::TensorSpec Weight(const std::string& prefix, int64_t expert, const std::string& part,
                              const GroupedLinear::Shape& shape) {
  return {
      absl::StrCat(prefix, ".", expert, ".", part, ".weight"), {shape.out, shape.in}, checkpoint::TensorRole::kExpert};
}

}  // namespace

absl::StatusOr<GroupedLinear> GroupedLinear::Load(const LoadContext& context, const std::string& prefix,
                                                  const std::vector<std::string>& parts, const Shape& shape) {
  GroupedLinear grouped;
  std::vector<std::vector<WeightView>> weights;  // [parts][experts]
  if (context.backend.host_accessible()) {
    for (const std::string& part : parts) {
      std::vector<WeightView>& experts = weights.emplace_back();
      for (int64_t e = 0; e < shape.experts; ++e) {
        HADAL_ASSIGN_OR_RETURN(checkpoint::LoadedTensor weight, context.loader.Take(Weight(prefix, e, part, shape)));
        experts.push_back(weight.weight);
        grouped.weights_.push_back(std::move(weight));
      }
    }
  } else {
    std::vector<std::vector<checkpoint::TensorSpec>> groups(shape.experts);
    for (int64_t e = 0; e < shape.experts; ++e) {
      for (const std::string& part : parts) groups[e].push_back(Weight(prefix, e, part, shape));
    }
    HADAL_ASSIGN_OR_RETURN(checkpoint::LoadedTensor joined, context.loader.TakeGroups(groups));  // [experts, out, in]
    std::vector<WeightView>& experts = weights.emplace_back();
    for (int64_t e = 0; e < shape.experts; ++e) experts.push_back(joined.weight.At(e));
    grouped.weights_.push_back(std::move(joined));
  }
  HADAL_RETURN_IF_ERROR(grouped.ListAddresses(context.backend, weights));
  return grouped;
}

absl::Status GroupedLinear::ListAddresses(kernels::Backend& backend,
                                          const std::vector<std::vector<WeightView>>& parts) {
  size_t count = 0;
  for (const std::vector<WeightView>& experts : parts) {
    count += experts.size() * (experts.front().scales.present() ? 2 : 1);
  }
  const auto bytes = static_cast<int64_t>(count * sizeof(int64_t));
  HADAL_ASSIGN_OR_RETURN(addresses_, backend.Allocate(bytes));
  std::vector<int64_t> addresses;
  // Appends the list of one operand and returns where it will lie on the device.
  const auto list = [&](const std::vector<WeightView>& experts, TensorView WeightView::*operand) {
    if (!(experts.front().*operand).present()) return TensorView();
    const int64_t* begin = static_cast<const int64_t*>(addresses_.data()) + addresses.size();
    for (const WeightView& weight : experts) addresses.push_back(reinterpret_cast<intptr_t>((weight.*operand).data));
    return TensorView(begin, kernels::DType::kI64, {static_cast<int64_t>(experts.size())});
  };
  for (const std::vector<WeightView>& experts : parts) {
    parts_.push_back({.values = list(experts, &WeightView::values),
                      .scales = list(experts, &WeightView::scales),
                      .each = experts.front()});
  }
  return backend.Upload(addresses_.data(), addresses.data(), bytes);
}

absl::Status GroupedLinear::Forward(kernels::Backend& backend, const TensorView& x, const TensorView& expert_start,
                                    const TensorView& out) const {
  int64_t column = 0;
  for (const kernels::GroupedWeightView& part : parts_) {
    const int64_t columns = part.each.out_features();
    HADAL_RETURN_IF_ERROR(
        backend.GroupedGemm({.x = x, .expert_start = expert_start, .w = part, .out = out.Slice(1, column, columns)}));
    column += columns;
  }
  return absl::OkStatus();
}

}  // namespace hadal::models
