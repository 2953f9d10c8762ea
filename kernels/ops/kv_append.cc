// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/kv_append.h"

#include "absl/strings/str_cat.h"
#include "kernels/ops/check.h"

namespace hadal::kernels {

absl::Status CheckKvAppend(const KvAppendParams& p) {
  const char* op = "kv_append";
  if (p.slot_mapping.dtype != DType::kI64 && p.slot_mapping.dtype != DType::kI32) {
    return absl::InvalidArgumentError(
        absl::StrCat("kv_append: slot_mapping: expected i64 or i32, found ", p.slot_mapping.DebugString()));
  }
  if (absl::Status s = FirstError({CheckContiguous(op, "slot_mapping", p.slot_mapping, {kAnySize}),
                                   CheckShape(op, "k", p.k, {p.slot_mapping.size(0), kAnySize, kAnySize}),
                                   CheckComputeDType(op, "k", p.k)});
      !s.ok()) {
    return s;
  }
  if (absl::Status s = FirstError({CheckShape(op, "k_cache", p.k_cache, {kAnySize, kAnySize, p.k.size(1), p.k.size(2)}),
                                   CheckComputeDType(op, "k_cache", p.k_cache),
                                   CheckPositive(op, "block_tokens", p.k_cache.size(1))});
      !s.ok()) {
    return s;
  }
  if (p.v.present() != p.v_cache.present()) {
    return absl::InvalidArgumentError("kv_append: v and v_cache: expected both or none");
  }
  if (!p.v.present()) return absl::OkStatus();
  if (absl::Status s =
          FirstError({CheckShape(op, "v", p.v, {p.k.size(0), p.k.size(1), kAnySize}), CheckComputeDType(op, "v", p.v)});
      !s.ok()) {
    return s;
  }
  return FirstError(
      {CheckShape(op, "v_cache", p.v_cache, {p.k_cache.size(0), p.k_cache.size(1), p.v.size(1), p.v.size(2)}),
       CheckComputeDType(op, "v_cache", p.v_cache)});
}

}  // namespace hadal::kernels
