// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/embedding.h"

#include "kernels/ops/check.h"

namespace hadal::kernels {

absl::Status CheckEmbedding(const EmbeddingParams& p) {
  const char* op = "embedding";
  if (absl::Status s =
          FirstError({CheckContiguous(op, "ids", p.ids, {kAnySize}), CheckDType(op, "ids", p.ids, DType::kI32),
                      CheckShape(op, "table", p.table, {kAnySize, kAnySize})});
      !s.ok()) {
    return s;
  }
  return FirstError({CheckComputeDType(op, "table", p.table),
                     CheckShape(op, "out", p.out, {p.ids.size(0), p.table.size(1)}),
                     CheckComputeDType(op, "out", p.out)});
}

}  // namespace hadal::kernels
