// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "models/checkpoint/decode.h"
#include "models/checkpoint/weight_loader.h"
#include "models/checkpoint/weights.h"
#include "models/config/config.h"

namespace hadal::checkpoint {

// A stored or dummy tensor as a matrix, with all that keeps its memory alive.
struct WeightSource {
  std::string name;
  std::string path;
  std::vector<int64_t> shape;                         // in values, also of packed FP4
  StoredMatrix matrix;                                // data is null for dummy weights
  std::shared_ptr<const SafetensorsFile> file;        // null for dummy weights
  std::shared_ptr<const std::vector<float>> scales;   // FP8
  std::shared_ptr<const SafetensorsFile> scale_file;  // of quantised tensors; may be another shard
  int64_t scale_bytes = 0;                            // as stored
  const TensorSpec* dummy = nullptr;                  // owned by the store

  int64_t row_bytes_stored() const {
    return dummy != nullptr ? matrix.columns * kDummyBytesPerValue : StoredRowBytes(matrix);
  }
};

struct WeightPiece {
  std::shared_ptr<const WeightSource> source;  // shared by the ranges of one tensor
  int64_t begin = 0;
  int64_t count = 0;
};

// What is to be made: pieces one below the other.
struct WeightAssembly {
  std::vector<WeightPiece> pieces;
  int64_t rows = 0;
  int64_t columns = 0;
  bool vectors = true;  // all sources have rank 1 or 0
  int64_t stored_bytes = 0;
};

// Finds a tensor and, for FP8 and FP4, its scales. NotFound or InvalidArgument name file, tensor, expected and found.
absl::StatusOr<WeightSource> ResolveSource(const WeightStore& store, const std::optional<config::Fp8Config>& fp8,
                                           absl::string_view name);

// Resolves and checks all ranges: rows in range, equal column counts.
absl::StatusOr<WeightAssembly> Assemble(const WeightStore& store, const std::optional<config::Fp8Config>& fp8,
                                        const std::vector<RowRange>& rows);

// The rows [h * head_rows + first_row, + width) of each head h; checks them against the tensor's shape.
absl::StatusOr<std::vector<RowRange>> HeadRows(const WeightStore& store, absl::string_view name, int64_t heads,
                                               int64_t head_rows, int64_t first_row, int64_t width);

}  // namespace hadal::checkpoint
