// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "models/loader/config.h"
#include "models/loader/weights.h"

namespace hadal::loader {

// "X.weight" -> "X.weight_scale_inv". Despite the name it is multiplied with.
std::string ScaleName(absl::string_view weight_name);

// The block scales of a quantised matrix, from whichever shard holds them: F32 or F8_E8M0, one for each started block
// of rows and columns. NotFound when there are none, InvalidArgument (file, tensor, expected, found) when they do not
// fit.
absl::StatusOr<StoredTensor> FindScale(const WeightStore& store, const TensorEntry& weight, const Fp8Config& fp8);

}  // namespace hadal::loader
