// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/expert_table.h"

#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "models/json/json_field.h"

namespace hadal::checkpoint {
namespace {

int64_t EntryAt(const TensorEntry& entry, int64_t index) {
  if (entry.dtype == StoredDType::kI32) {
    int32_t value;
    std::memcpy(&value, entry.bytes.data() + index * 4, 4);
    return value;
  }
  int64_t value;
  std::memcpy(&value, entry.bytes.data() + index * 8, 8);
  return value;
}

absl::Status Bad(absl::string_view path, absl::string_view name, absl::string_view expected, absl::string_view found) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": tensor \"", json::QuoteForError(name), "\": expected ", expected, ", found ", found));
}

// Neighbouring tokens get overlapping groups, so that all experts are in use.
void FillDummy(int64_t per_token, int64_t experts, uint64_t seed, std::vector<int32_t>& out) {
  const int64_t first = static_cast<int64_t>(seed % static_cast<uint64_t>(experts));
  for (size_t i = 0; i < out.size(); ++i) {
    const auto index = static_cast<int64_t>(i);
    out[i] = static_cast<int32_t>((first + index / per_token + index % per_token) % experts);
  }
}

}  // namespace

absl::StatusOr<ExpertTable> ReadExpertTable(const WeightStore& store, absl::string_view name, int64_t experts) {
  auto shape = store.Shape(name);
  if (!shape.ok()) return shape.status();
  StoredTensor stored;
  std::string path = "dummy weights";
  if (!store.is_dummy()) {
    auto found = store.Get(name);
    if (!found.ok()) return found.status();
    stored = *std::move(found);
    path = stored.file->path();
  }
  if (shape->size() != 2) return Bad(path, name, "2 dimensions", absl::StrCat(shape->size()));
  ExpertTable table;
  table.shape = *shape;
  const int64_t per_token = (*shape)[1];
  if (experts < 1 || per_token < 1 || per_token > experts) {
    return Bad(path, name, absl::StrCat("1 to ", experts, " experts a token"), absl::StrCat(per_token));
  }
  if (store.is_dummy()) {
    table.experts.resize(static_cast<size_t>((*shape)[0] * per_token));
    FillDummy(per_token, experts, store.dummy_seed(), table.experts);
    table.stored_bytes = static_cast<int64_t>(table.experts.size()) * kDummyBytesPerValue;
    return table;
  }
  const TensorEntry& entry = *stored.entry;
  if (entry.dtype != StoredDType::kI64 && entry.dtype != StoredDType::kI32) {
    return Bad(path, name, "dtype I64 or I32", StoredDTypeName(entry.dtype));
  }
  table.stored_bytes = static_cast<int64_t>(entry.bytes.size());
  table.experts.reserve(static_cast<size_t>(entry.elements()));
  for (int64_t i = 0; i < entry.elements(); ++i) {
    const int64_t expert = EntryAt(entry, i);
    if (expert < 0 || expert >= experts) {
      return Bad(path, name, absl::StrCat("experts in [0, ", experts, ")"),
                 absl::StrCat(expert, " for token ", i / per_token));
    }
    table.experts.push_back(static_cast<int32_t>(expert));
  }
  return table;
}

}  // namespace hadal::checkpoint
