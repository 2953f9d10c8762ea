// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/weight_sources.h"

#include "absl/strings/str_cat.h"
#include "models/checkpoint/scale.h"
#include "models/json/json_field.h"

namespace hadal::checkpoint {
namespace {

// The block format, the factors and the shape in values of a stored FP8 or FP4 matrix.
absl::Status ResolveQuantized(const WeightStore& store, const StoredTensor& stored,
                              const std::optional<config::Fp8Config>& fp8, WeightSource& source) {
  auto format = QuantizedFormat(*stored.entry, fp8);
  if (!format.ok()) {
    return absl::Status(format.status().code(), absl::StrCat(source.path, ": ", format.status().message()));
  }
  auto scale = FindScale(store, *stored.entry, *format);
  if (!scale.ok()) return scale.status();
  if (absl::Status status = CheckScaleValues(*scale); !status.ok()) return status;
  source.shape = {format->rows, format->columns};
  source.matrix.block_rows = format->block_rows;
  source.matrix.block_columns = format->block_columns;
  source.scale_file = scale->file;
  source.scale_bytes = static_cast<int64_t>(scale->entry->bytes.size());
  if (stored.entry->dtype == StoredDType::kI8) {
    source.matrix.scale_codes = scale->entry->bytes.data();  // one per 32 values: too many to keep as floats
    return absl::OkStatus();
  }
  source.scales = std::make_shared<const std::vector<float>>(
      DecodeScales(scale->entry->dtype, scale->entry->bytes.data(), scale->entry->elements()));
  source.matrix.scales = source.scales->data();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<WeightSource> ResolveSource(const WeightStore& store, const std::optional<config::Fp8Config>& fp8,
                                           absl::string_view name) {
  WeightSource source;
  source.name = std::string(name);
  if (const TensorSpec* spec = store.DummySpec(name)) {
    source.path = "dummy weights";
    source.shape = spec->shape;
    source.dummy = spec;
  } else {
    auto stored = store.Get(name);
    if (!stored.ok()) return stored.status();
    const TensorEntry& entry = *stored->entry;
    source.path = stored->file->path();
    source.shape = entry.shape;
    source.file = stored->file;
    source.matrix.dtype = entry.dtype;
    source.matrix.data = entry.bytes.data();
    if (IsQuantizedDType(entry.dtype)) {
      if (absl::Status status = ResolveQuantized(store, *stored, fp8, source); !status.ok()) return status;
    } else if (!IsPlainFloat(entry.dtype)) {
      return absl::InvalidArgumentError(absl::StrCat(source.path, ": tensor \"", json::QuoteForError(name),
                                                     "\": expected dtype F32, F16, BF16 or F8_E4M3, found ",
                                                     DescribeStoredDType(entry.dtype)));
    }
  }
  source.matrix.rows = source.shape.empty() ? 1 : source.shape[0];
  source.matrix.columns = 1;
  for (size_t i = 1; i < source.shape.size(); ++i) source.matrix.columns *= source.shape[i];
  return source;
}

absl::StatusOr<WeightAssembly> Assemble(const WeightStore& store, const std::optional<config::Fp8Config>& fp8,
                                        const std::vector<RowRange>& rows) {
  if (rows.empty()) return absl::InvalidArgumentError("weights: expected rows to load, found none");
  WeightAssembly assembly;
  for (const RowRange& range : rows) {
    // Following ranges of one tensor share its source: a permutation of rows has many.
    std::shared_ptr<const WeightSource> source;
    if (!assembly.pieces.empty() && assembly.pieces.back().source->name == range.name) {
      source = assembly.pieces.back().source;
    } else {
      auto resolved = ResolveSource(store, fp8, range.name);
      if (!resolved.ok()) return resolved.status();
      source = std::make_shared<const WeightSource>(*std::move(resolved));
    }
    const StoredMatrix& matrix = source->matrix;
    const int64_t count = range.count < 0 ? matrix.rows - range.begin : range.count;
    if (range.begin < 0 || count < 0 || range.begin > matrix.rows || count > matrix.rows - range.begin) {
      return absl::OutOfRangeError(absl::StrCat(source->path, ": tensor \"", range.name,
                                                "\": expected rows within [0, ", matrix.rows, "), found ", count,
                                                " from ", range.begin));
    }
    if (!assembly.pieces.empty() && matrix.columns != assembly.columns) {
      return absl::InvalidArgumentError(absl::StrCat(source->path, ": tensor \"", range.name, "\": expected ",
                                                     assembly.columns, " columns like the rows above, found ",
                                                     matrix.columns));
    }
    assembly.columns = matrix.columns;
    assembly.rows += count;
    assembly.vectors &= source->shape.size() <= 1;
    assembly.stored_bytes += count * source->row_bytes_stored();
    if (matrix.rows > 0) assembly.stored_bytes += source->scale_bytes * count / matrix.rows;
    assembly.pieces.push_back({std::move(source), range.begin, count});
  }
  return assembly;
}

absl::StatusOr<std::vector<RowRange>> HeadRows(const WeightStore& store, absl::string_view name, int64_t heads,
                                               int64_t head_rows, int64_t first_row, int64_t width) {
  auto shape = store.Shape(name);
  if (!shape.ok()) return shape.status();
  if (heads < 1 || head_rows < 1 || first_row < 0 || width < 1 || width > head_rows - first_row) {
    return absl::InvalidArgumentError(absl::StrCat("weights: tensor \"", name, "\": expected a slice of each head's ",
                                                   head_rows, " rows, found ", width, " from ", first_row));
  }
  if (shape->size() != 2 || (*shape)[0] % head_rows != 0 || (*shape)[0] / head_rows != heads) {
    return absl::InvalidArgumentError(absl::StrCat("weights: tensor \"", name, "\": expected ", heads, " heads of ",
                                                   head_rows, " rows, found ", shape->empty() ? 0 : (*shape)[0],
                                                   " rows"));
  }
  std::vector<RowRange> rows;
  for (int64_t head = 0; head < heads; ++head) rows.push_back({std::string(name), head * head_rows + first_row, width});
  return rows;
}

}  // namespace hadal::checkpoint
