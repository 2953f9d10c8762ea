// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "models/checkpoint/weights.h"
#include "models/config/config.h"

namespace hadal::checkpoint {

// Names under which the factors of X.weight are looked for: X.weight_scale_inv (V3; despite the name it is multiplied
// with), then X.scale (V4).
std::vector<std::string> ScaleNames(absl::string_view weight_name);

// How a stored matrix is quantised. Packed FP4 is E2M1, two values a byte, the even column in the low nibble: its
// stored shape is [rows, columns / 2], its factors are one for each row and started 32 columns.
struct BlockFormat {
  int64_t rows = 0;
  int64_t columns = 0;  // values
  int64_t block_rows = 0;
  int64_t block_columns = 0;

  int64_t scale_rows() const { return rows / block_rows + (rows % block_rows != 0); }
  int64_t scale_columns() const { return columns / block_columns + (columns % block_columns != 0); }
};

// True for the types of quantised matrices: F8_E4M3, and I8 for packed FP4.
bool IsQuantizedDType(StoredDType dtype);

// The format of a matrix of such a type. InvalidArgument (tensor, expected, found) when it has no two dimensions, or
// when the configuration does not announce it.
absl::StatusOr<BlockFormat> QuantizedFormat(const TensorEntry& weight, const std::optional<config::Fp8Config>& fp8);

// The scales, from whichever shard holds them: F8_E8M0, for FP8 also F32, one per block (ceil-divided). NotFound when
// there are none, InvalidArgument (file, tensor, expected, found) when they do not fit or lie under both names. Their
// values are not read.
absl::StatusOr<StoredTensor> FindScale(const WeightStore& store, const TensorEntry& weight, const BlockFormat& format);

// InvalidArgument names the first factor, its row and column, that is NaN (0xFF of E8M0), infinite, negative or so
// large that a product could leave float32.
absl::Status CheckScaleValues(const StoredTensor& scale);

}  // namespace hadal::checkpoint
