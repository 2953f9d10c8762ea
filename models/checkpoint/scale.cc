// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/scale.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "models/checkpoint/decode.h"
#include "models/json/json_field.h"

namespace hadal::checkpoint {
namespace {

constexpr int64_t kFp4BlockColumns = 32;
constexpr int64_t kMaxColumns = int64_t{1} << 40;
constexpr int kMaxExponent = 118;  // 2^118 times E4M3's 448 is the last power that stays below 2^127
constexpr int kE8M0Bias = 127;

absl::Status Bad(const StoredTensor& tensor, absl::string_view expected, absl::string_view found) {
  return absl::InvalidArgumentError(absl::StrCat(tensor.file->path(), ": tensor \"",
                                                 json::QuoteForError(tensor.entry->name), "\": expected ", expected,
                                                 ", found ", found));
}

absl::Status BadWeight(const TensorEntry& weight, absl::string_view expected, absl::string_view found) {
  return absl::InvalidArgumentError(
      absl::StrCat("tensor \"", json::QuoteForError(weight.name), "\": expected ", expected, ", found ", found));
}

}  // namespace

std::vector<std::string> ScaleNames(absl::string_view weight_name) {
  std::vector<std::string> names = {absl::StrCat(weight_name, "_scale_inv")};
  if (absl::ConsumeSuffix(&weight_name, ".weight")) names.push_back(absl::StrCat(weight_name, ".scale"));
  return names;
}

bool IsQuantizedDType(StoredDType dtype) { return dtype == StoredDType::kF8E4M3 || dtype == StoredDType::kI8; }

absl::StatusOr<BlockFormat> QuantizedFormat(const TensorEntry& weight, const std::optional<config::Fp8Config>& fp8) {
  const bool fp4 = weight.dtype == StoredDType::kI8;
  if (!fp8) {
    return BadWeight(
        weight, absl::StrCat("a quantization_config in config.json for dtype ", StoredDTypeName(weight.dtype)), "none");
  }
  if (fp4 && !fp8->fp4_experts) {
    return BadWeight(weight, "expert_dtype \"fp4\" in config.json for dtype I8 (packed FP4)", "none");
  }
  if (weight.shape.size() != 2) {
    return BadWeight(weight, absl::StrCat("2 dimensions for dtype ", StoredDTypeName(weight.dtype)),
                     absl::StrCat(weight.shape.size()));
  }
  // Also of a tensor without rows, which can claim any number of columns.
  if (weight.shape[1] > kMaxColumns) {
    return BadWeight(weight, absl::StrCat("at most ", kMaxColumns, " columns"), absl::StrCat(weight.shape[1]));
  }
  if (fp4) return BlockFormat{weight.shape[0], 2 * weight.shape[1], 1, kFp4BlockColumns};
  return BlockFormat{weight.shape[0], weight.shape[1], fp8->block_rows, fp8->block_columns};
}

absl::StatusOr<StoredTensor> FindScale(const WeightStore& store, const TensorEntry& weight, const BlockFormat& format) {
  absl::StatusOr<StoredTensor> scale = absl::NotFoundError("");
  for (const std::string& name : ScaleNames(weight.name)) {
    if (!store.Contains(name)) continue;
    if (scale.ok())
      return Bad(*scale, "its factors under one name", absl::StrCat("\"", json::QuoteForError(name), "\" too"));
    scale = store.Get(name);
  }
  if (!scale.ok()) {
    return absl::NotFoundError(absl::StrCat(store.directory(), ": tensor \"", json::QuoteForError(weight.name),
                                            "\": expected its factors as ",
                                            absl::StrJoin(ScaleNames(weight.name), " or "), ", found none"));
  }
  const TensorEntry& entry = *scale->entry;
  const std::vector<int64_t> expected = {format.scale_rows(), format.scale_columns()};
  if (entry.shape != expected) {
    return Bad(*scale,
               absl::StrCat("shape [", absl::StrJoin(expected, ", "), "] for blocks of [", format.block_rows, ", ",
                            format.block_columns, "]"),
               absl::StrCat("[", absl::StrJoin(entry.shape, ", "), "]"));
  }
  const bool fp4 = weight.dtype == StoredDType::kI8;
  if (entry.dtype != StoredDType::kF8E8M0 && (fp4 || entry.dtype != StoredDType::kF32)) {
    return Bad(*scale, fp4 ? "dtype F8_E8M0" : "dtype F32 or F8_E8M0", StoredDTypeName(entry.dtype));
  }
  return scale;
}

absl::Status CheckScaleValues(const StoredTensor& scale) {
  const TensorEntry& entry = *scale.entry;
  int64_t bad = -1;
  if (entry.dtype == StoredDType::kF8E8M0) {
    constexpr auto kLargest = static_cast<std::byte>(kE8M0Bias + kMaxExponent);
    const auto at =
        std::find_if(entry.bytes.begin(), entry.bytes.end(), [](std::byte code) { return code > kLargest; });
    if (at != entry.bytes.end()) bad = at - entry.bytes.begin();
  } else {
    const std::vector<float> values = DecodeScales(entry.dtype, entry.bytes.data(), entry.elements());
    // The negation catches NaN.
    const auto at = std::find_if(values.begin(), values.end(), [](float v) { return !(v >= 0.0f && v <= 0x1p118f); });
    if (at != values.end()) bad = at - values.begin();
  }
  if (bad < 0) return absl::OkStatus();
  const int64_t columns = entry.shape[1];
  const int64_t bytes = StoredDTypeBytes(entry.dtype);
  const float value = DecodeScales(entry.dtype, entry.bytes.data() + bad * bytes, 1)[0];
  return Bad(scale, "factors from 0 to 2^118",
             absl::StrCat(value, " at row ", bad / columns, ", column ", bad % columns));
}

}  // namespace hadal::checkpoint
