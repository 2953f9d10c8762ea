// SPDX-License-Identifier: Apache-2.0
#include "kernels/weight_view.h"

namespace hadal::kernels {
namespace {

void* AddressAt(const TensorView& list, int64_t index) {
  return reinterpret_cast<void*>(list.as<const int64_t>()[index]);
}

}  // namespace

const char* WeightSchemeName(WeightScheme scheme) {
  switch (scheme) {
    case WeightScheme::kPlain:
      return "plain";
  }
  return "?";
}

WeightView WeightView::At(int64_t index) const {
  WeightView weight = *this;
  weight.values = values.At(index);
  if (scales.present()) weight.scales = scales.At(index);
  return weight;
}

WeightView WeightView::SplitRows(int64_t matrices) const {
  WeightView weight = *this;
  switch (scheme) {
    case WeightScheme::kPlain: {
      const int64_t rows = out_features() / matrices, row = values.stride(0);
      weight.values.rank = 3;
      weight.values.sizes = {matrices, rows, in_features()};
      weight.values.strides = {rows * row, row, values.stride(1)};
      break;
    }
  }
  return weight;
}

WeightView WeightView::Rows(int64_t begin, int64_t count) const {
  WeightView weight = *this;
  switch (scheme) {
    case WeightScheme::kPlain:
      weight.values = values.Slice(values.rank - 2, begin, count);
      break;
  }
  return weight;
}

WeightView GroupedWeightView::At(int64_t index) const {
  WeightView weight = each;
  weight.values.data = AddressAt(values, index);
  if (scales.present()) weight.scales.data = AddressAt(scales, index);
  return weight;
}

}  // namespace hadal::kernels
