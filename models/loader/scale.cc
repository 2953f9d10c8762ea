// SPDX-License-Identifier: Apache-2.0
#include "models/loader/scale.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "models/loader/json_fields.h"

namespace hadal::loader {

std::string ScaleName(absl::string_view weight_name) { return absl::StrCat(weight_name, "_scale_inv"); }

absl::StatusOr<StoredTensor> FindScale(const WeightStore& store, const TensorEntry& weight, const Fp8Config& fp8) {
  if (weight.shape.size() != 2) {
    return absl::InvalidArgumentError(absl::StrCat("tensor \"", QuoteForError(weight.name),
                                                   "\": expected 2 dimensions for dtype F8_E4M3, found ",
                                                   weight.shape.size()));
  }
  auto scale = store.Get(ScaleName(weight.name));
  if (!scale.ok()) return scale.status();
  const TensorEntry& entry = *scale->entry;
  auto started_blocks = [](int64_t size, int64_t block) { return size / block + (size % block != 0); };
  const std::vector<int64_t> expected = {started_blocks(weight.shape[0], fp8.block_rows),
                                         started_blocks(weight.shape[1], fp8.block_columns)};
  if (entry.shape != expected) {
    return absl::InvalidArgumentError(absl::StrCat(scale->file->path(), ": tensor \"", QuoteForError(entry.name),
                                                   "\": expected shape [", absl::StrJoin(expected, ", "),
                                                   "] for blocks of [", fp8.block_rows, ", ", fp8.block_columns,
                                                   "], found [", absl::StrJoin(entry.shape, ", "), "]"));
  }
  if (entry.dtype != StoredDType::kF32 && entry.dtype != StoredDType::kF8E8M0) {
    return absl::InvalidArgumentError(absl::StrCat(scale->file->path(), ": tensor \"", QuoteForError(entry.name),
                                                   "\": expected dtype F32 or F8_E8M0, found ",
                                                   StoredDTypeName(entry.dtype)));
  }
  return scale;
}

}  // namespace hadal::loader
