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

}  // namespace

absl::StatusOr<ExpertTable> ExpertTable::Find(const WeightStore& store, absl::string_view name, int64_t experts) {
  auto shape = store.Shape(name);
  if (!shape.ok()) return shape.status();
  ExpertTable table;
  table.path_ = "dummy weights";
  table.name_ = std::string(name);
  if (!store.is_dummy()) {
    auto found = store.Get(name);
    if (!found.ok()) return found.status();
    table.stored_ = *std::move(found);
    table.path_ = table.stored_.file->path();
  }
  if (shape->size() != 2) return Bad(table.path_, name, "2 dimensions", absl::StrCat(shape->size()));
  table.shape_ = *std::move(shape);
  table.experts_ = experts;
  const int64_t per_token = table.shape_[1];
  if (experts < 1 || per_token < 1 || per_token > experts) {
    return Bad(table.path_, name, absl::StrCat("1 to ", experts, " experts a token"), absl::StrCat(per_token));
  }
  if (store.is_dummy()) {
    table.first_expert_ = static_cast<int64_t>(store.dummy_seed() % static_cast<uint64_t>(experts));
    table.stored_bytes_ = table.entries() * kDummyBytesPerValue;
    return table;
  }
  const TensorEntry& entry = *table.stored_.entry;
  if (entry.dtype != StoredDType::kI64 && entry.dtype != StoredDType::kI32) {
    return Bad(table.path_, name, "dtype I64 or I32", StoredDTypeName(entry.dtype));
  }
  table.stored_bytes_ = static_cast<int64_t>(entry.bytes.size());
  return table;
}

absl::Status ExpertTable::Read(int64_t begin, int64_t count, int32_t* out) const {
  const int64_t per_token = shape_[1];
  for (int64_t i = begin; i < begin + count; ++i) {
    // Of dummy weights neighbouring tokens get overlapping groups, so that all experts are in use.
    const int64_t expert = stored_.entry != nullptr ? EntryAt(*stored_.entry, i)
                                                    : (first_expert_ + i / per_token + i % per_token) % experts_;
    if (expert < 0 || expert >= experts_) {
      return Bad(path_, name_, absl::StrCat("experts in [0, ", experts_, ")"),
                 absl::StrCat(expert, " for token ", i / per_token));
    }
    *out++ = static_cast<int32_t>(expert);
  }
  return absl::OkStatus();
}

}  // namespace hadal::checkpoint
