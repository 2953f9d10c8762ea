// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/ragged_batch.h"

#include "absl/strings/str_cat.h"
#include "kernels/ops/check.h"

namespace hadal::kernels {

absl::Status CheckRaggedBatch(absl::string_view op, const RaggedBatch& batch, int64_t tokens, int64_t block_tokens) {
  const auto bad = [&](const std::string& text) { return absl::InvalidArgumentError(absl::StrCat(op, ": ", text)); };
  const int64_t sequences = batch.sequences();
  if (absl::Status s = FirstError({
          CheckContiguous(op, "query_start", batch.query_start, {sequences + 1}),
          CheckDType(op, "query_start", batch.query_start, DType::kI32),
          CheckContiguous(op, "context_lens", batch.context_lens, {sequences}),
          CheckDType(op, "context_lens", batch.context_lens, DType::kI32),
      });
      !s.ok()) {
    return s;
  }
  if (static_cast<int64_t>(batch.host_query_start.size()) != sequences + 1) {
    return bad(
        absl::StrCat("host_query_start: expected ", sequences + 1, " values, found ", batch.host_query_start.size()));
  }
  if (batch.host_query_start[0] != 0 || batch.tokens() != tokens) {
    return bad(
        absl::StrCat("query_start: expected 0..", tokens, ", found ", batch.host_query_start[0], "..", batch.tokens()));
  }
  if (block_tokens > 0) {
    if (absl::Status s = FirstError({CheckShape(op, "block_tables", batch.block_tables, {sequences, kAnySize}),
                                     CheckDType(op, "block_tables", batch.block_tables, DType::kI32)});
        !s.ok()) {
      return s;
    }
  }
  for (int64_t i = 0; i < sequences; ++i) {
    const int64_t queries = int64_t{batch.host_query_start[i + 1]} - batch.host_query_start[i];
    const int64_t context = batch.host_context_lens[i];
    if (queries < 0) return bad(absl::StrCat("query_start falls after sequence ", i));
    if (context < queries) {
      return bad(
          absl::StrCat("sequence ", i, ": context of ", context, " tokens is shorter than its ", queries, " queries"));
    }
    if (block_tokens > 0 && (context + block_tokens - 1) / block_tokens > batch.block_tables.size(1)) {
      return bad(absl::StrCat("sequence ", i, ": context of ", context, " tokens needs more than the ",
                              batch.block_tables.size(1), " blocks of its table"));
    }
  }
  return absl::OkStatus();
}

}  // namespace hadal::kernels
