// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/check.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace hadal::kernels {
namespace {

std::string ShapeText(std::initializer_list<int64_t> sizes) {
  std::string text = "[";
  for (int64_t size : sizes) {
    absl::StrAppend(&text, text.size() > 1 ? ", " : "", size == kAnySize ? std::string("any") : absl::StrCat(size));
  }
  return text + "]";
}

absl::Status Mismatch(absl::string_view op, absl::string_view name, const std::string& expected,
                      const TensorView& view) {
  return absl::InvalidArgumentError(
      absl::StrCat(op, ": ", name, ": expected ", expected, ", found ", view.DebugString()));
}

absl::Status CheckAddresses(absl::string_view op, absl::string_view name, const TensorView& list, int64_t experts) {
  return FirstError({CheckContiguous(op, name, list, {experts}), CheckDType(op, name, list, DType::kI64)});
}

absl::Status CheckAbsent(absl::string_view op, absl::string_view name, const TensorView& view, const char* reason) {
  if (!view.present()) return absl::OkStatus();
  return Mismatch(op, name, absl::StrCat("none ", reason), view);
}

}  // namespace

absl::Status CheckShape(absl::string_view op, absl::string_view name, const TensorView& view,
                        std::initializer_list<int64_t> sizes) {
  const int rank = static_cast<int>(sizes.size());
  bool good = view.rank == rank;
  int i = 0;
  for (int64_t size : sizes) {
    if (!good) break;
    good = view.sizes[i] >= 0 && (size == kAnySize || view.sizes[i] == size);
    ++i;
  }
  if (!good) return Mismatch(op, name, ShapeText(sizes), view);
  if (view.sizes[rank - 1] > 1 && view.strides[rank - 1] != 1)
    return Mismatch(op, name, "a dense last dimension", view);
  if (view.numel() > 0 && view.data == nullptr) return Mismatch(op, name, "memory", view);
  return absl::OkStatus();
}

absl::Status CheckContiguous(absl::string_view op, absl::string_view name, const TensorView& view,
                             std::initializer_list<int64_t> sizes) {
  if (absl::Status s = CheckShape(op, name, view, sizes); !s.ok()) return s;
  if (!view.contiguous()) return Mismatch(op, name, "a contiguous view", view);
  return absl::OkStatus();
}

absl::Status CheckDType(absl::string_view op, absl::string_view name, const TensorView& view, DType dtype) {
  if (view.dtype != dtype) return Mismatch(op, name, DTypeName(dtype), view);
  return absl::OkStatus();
}

absl::Status CheckComputeDType(absl::string_view op, absl::string_view name, const TensorView& view) {
  if (!IsComputeDType(view.dtype)) return Mismatch(op, name, "f32, bf16 or f16", view);
  return absl::OkStatus();
}

absl::Status CheckWeight(absl::string_view op, absl::string_view name, const WeightView& weight,
                         std::initializer_list<int64_t> sizes) {
  if (absl::Status s = CheckShape(op, name, weight.values, sizes); !s.ok()) return s;
  switch (weight.scheme) {
    case WeightScheme::kPlain:
      return FirstError({CheckComputeDType(op, name, weight.values),
                         CheckAbsent(op, absl::StrCat(name, ".scales"), weight.scales, "with scheme plain")});
  }
  return absl::InvalidArgumentError(absl::StrCat(op, ": ", name, ": unknown scheme ", static_cast<int>(weight.scheme)));
}

absl::Status CheckGroupedWeight(absl::string_view op, absl::string_view name, const GroupedWeightView& weight,
                                int64_t in_features) {
  if (absl::Status s = CheckAddresses(op, absl::StrCat(name, ".values"), weight.values, kAnySize); !s.ok()) return s;
  const std::string scales = absl::StrCat(name, ".scales");
  return FirstError({weight.each.scales.present()
                         ? CheckAddresses(op, scales, weight.scales, weight.experts())
                         : CheckAbsent(op, scales, weight.scales, "for weights without scales"),
                     CheckWeight(op, absl::StrCat(name, ".each"), weight.each, {kAnySize, in_features})});
}

absl::Status CheckPositive(absl::string_view op, absl::string_view name, int64_t value) {
  if (value >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(op, ": ", name, ": expected at least 1, found ", value));
}

absl::Status FirstError(std::initializer_list<absl::Status> statuses) {
  for (const absl::Status& status : statuses) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace hadal::kernels
