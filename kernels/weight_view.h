// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/tensor_view.h"

namespace hadal::kernels {

// How the numbers of a weight follow from what is stored. CheckWeight (ops/check.h) holds what each scheme asks of
// values and scales; kernels/README.md lists what a new one touches.
enum class WeightScheme : uint8_t {
  kPlain,  // the values themselves: f32, bf16 or f16, no scales
};

// "plain".
const char* WeightSchemeName(WeightScheme scheme);

// The weight of a matrix product, as ops take it. Owns nothing, as TensorView. Ops that multiply with a weight take
// this type, so that values cannot be parted from what they mean; activations are TensorViews.
struct WeightView {
  TensorView values;  // [out, in], or [matrices, out, in]: several of one shape
  TensorView scales;  // as the scheme says, after [matrices] where the values have it; absent with kPlain
  WeightScheme scheme = WeightScheme::kPlain;

  static WeightView Plain(const TensorView& values) { return {values, TensorView(), WeightScheme::kPlain}; }

  int64_t out_features() const { return values.size(values.rank - 2); }
  int64_t in_features() const { return values.size(values.rank - 1); }
  int64_t bytes() const { return values.bytes() + scales.bytes(); }

  // Matrix `index` of [matrices, out, in].
  WeightView At(int64_t index) const;

  // [out, in] as [matrices, out / matrices, in]; `matrices` divides out.
  WeightView SplitRows(int64_t matrices) const;
  // Rows [begin, begin + count) of every matrix. Like SplitRows it has a case for each scheme, which says how scales go
  // with rows. Plain weights have none; what a malformed one carries stays, so that CheckWeight refuses it after the
  // cut as before.
  WeightView Rows(int64_t begin, int64_t count) const;
};

// One weight per expert, alike in all but their addresses: each stays where the loader put it (on the CPU inside the
// mapped checkpoint).
struct GroupedWeightView {
  TensorView values;  // i64 [experts], contiguous: the device address of each expert's values
  TensorView scales;  // i64 [experts], contiguous: of each expert's scales; absent where `each` has none
  WeightView each;    // one of the weights, [out, in]: sizes, strides, types and scheme of all

  int64_t experts() const { return values.size(0); }
  // The weight of expert `index`. Reads the lists, so they must lie in host memory.
  WeightView At(int64_t index) const;
};

}  // namespace hadal::kernels
