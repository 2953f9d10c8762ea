// SPDX-License-Identifier: Apache-2.0
//
// Attention whose heads share one vector that is key and value, and the indexer that chooses the keys. In float32.
#include <ATen/TensorIndexing.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/index.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <limits>
#include <vector>

#include "kernels/torch/paged_cache.h"
#include "kernels/torch/tensors.h"
#include "kernels/torch/torch_ops.h"

namespace hadal::kernels::torch {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// Keys that some queries share, [m, d], or of each query, [n, m, d], and which of them each query sees, [n, m].
struct SharedKeys {
  at::Tensor keys;
  at::Tensor visible;
};

// Gives [n, heads, value_dim]. q is [n, heads, d] in float32, sink [heads] or undefined; values are the first value_dim
// of a key. Keys with a value that is not finite are cleared, since 0 times NaN is NaN; the rows that see them are
// set to NaN.
at::Tensor Attend(const at::Tensor& q, const std::vector<SharedKeys>& parts, int64_t value_dim, double scale,
                  const at::Tensor& sink) {
  const int64_t n = q.size(0), heads = q.size(1);
  at::Tensor poisoned = at::zeros({n}, q.options().dtype(at::kBool));
  std::vector<at::Tensor> clean, scores;
  for (const SharedKeys& part : parts) {
    const at::Tensor bad = at::isfinite(part.keys).all(-1).logical_not();
    poisoned = poisoned.logical_or(part.visible.logical_and(bad).any(1));
    clean.push_back(part.keys.masked_fill(bad.unsqueeze(-1), 0));
    scores.push_back(at::matmul(q, clean.back().transpose(-1, -2))
                         .mul_(scale)
                         .masked_fill_(part.visible.logical_not().unsqueeze(1), kMinusInfinity));
  }
  if (sink.defined()) scores.push_back(sink.to(at::kFloat).view({1, heads, 1}).expand({n, heads, 1}));
  const at::Tensor weights = at::softmax(at::cat(scores, 2), 2);
  at::Tensor out = at::zeros({n, heads, value_dim}, q.options());
  int64_t column = 0;
  for (const at::Tensor& keys : clean) {
    const int64_t m = keys.size(-2);
    out.add_(at::matmul(weights.narrow(2, column, m), keys.narrow(-1, 0, value_dim)));
    column += m;
  }
  return out.masked_fill(poisoned.view({n, 1, 1}), std::numeric_limits<double>::quiet_NaN());
}

// The rows of `cache` that lists [n, k] of row numbers of a sequence name, in float32; -1 names none.
SharedKeys ListedRows(const at::Tensor& cache, const at::Tensor& table, const at::Tensor& lists) {
  const at::Tensor visible = lists.ge(0), rows = lists.clamp_min(0).to(at::kLong);
  const at::Tensor column = rows.floor_divide(cache.size(1)).clamp_max(table.size(0) - 1);
  // What the padding of a list finds is not used, but must be in bounds.
  const at::Tensor block = at::where(visible, table.index({column}), 0).to(at::kLong);
  return {cache.index({block, rows.remainder(cache.size(1))}).to(at::kFloat), visible};
}

at::Tensor Positions(const QueryRange& r, int64_t begin, int64_t count, const at::Device& device) {
  return Range(device, r.first_position + begin, r.first_position + begin + count).unsqueeze(1);
}

}  // namespace

void MlaAttention(const at::Device& device, const MlaAttentionParams& p) {
  const at::Tensor q_lat = Wrap(device, p.q_lat), q_pe = Wrap(device, p.q_pe), cache = Wrap(device, p.cache);
  const at::Tensor out = Wrap(device, p.o_lat), tables = Wrap(device, p.batch.block_tables);
  const int64_t latent = p.q_lat.size(2), heads = p.q_lat.size(1);
  ForEachSequence(p.batch, [&](const QueryRange& r) {
    const int64_t listed = p.selected.present() ? p.selected.size(1) : 0;
    const int64_t step = QueriesAtOnce(listed > 0 ? listed * (heads + cache.size(2)) : heads * r.context_tokens);
    for (int64_t begin = 0; begin < r.count; begin += step) {
      const int64_t count = std::min(step, r.count - begin), row = r.begin + begin;
      const at::Tensor q =
          at::cat({q_lat.narrow(0, row, count).to(at::kFloat), q_pe.narrow(0, row, count).to(at::kFloat)}, 2);
      SharedKeys keys;
      if (listed > 0) {
        keys = ListedRows(cache, tables.select(0, r.sequence), Wrap(device, p.selected).narrow(0, row, count));
      } else {
        const int64_t end = r.first_position + begin + count;
        keys.keys = CachedRows(cache, tables, r.sequence, 0, end).to(at::kFloat);
        keys.visible = Range(device, 0, end).unsqueeze(0).le(Positions(r, begin, count, device));
      }
      out.narrow(0, row, count).copy_(Attend(q, {keys}, latent, p.scale, at::Tensor()));
    }
  });
}

void HybridAttention(const at::Device& device, const HybridAttentionParams& p) {
  constexpr int64_t kQueries = 1024;  // at a time, so that the rows of their windows stay few
  const at::Tensor q = Wrap(device, p.q), window = Wrap(device, p.window), out = Wrap(device, p.out);
  const at::Tensor sink = Wrap(device, p.sink), window_tables = Wrap(device, p.window_batch.block_tables);
  const int64_t ratio = p.tokens_per_entry, heads = p.q.size(1), dim = p.q.size(2);
  const int64_t listed = p.selected.present() ? p.selected.size(1) : 0;
  ForEachSequence(p.window_batch, [&](const QueryRange& r) {
    const int64_t entries_seen = p.entries.present() ? r.context_tokens / ratio : 0;
    const int64_t scores = heads * (p.window_tokens + (p.selected.present() ? listed : entries_seen)) + listed * dim;
    const int64_t step = std::min(kQueries, QueriesAtOnce(scores));
    for (int64_t begin = 0; begin < r.count; begin += step) {
      const int64_t count = std::min(step, r.count - begin), row = r.begin + begin;
      const at::Tensor position = Positions(r, begin, count, device);
      const int64_t end = r.first_position + begin + count;
      const int64_t oldest = std::max<int64_t>(0, end - count - p.window_tokens + 1);
      const at::Tensor window_position = Range(device, oldest, end).unsqueeze(0);
      std::vector<SharedKeys> parts = {
          {CachedRows(window, window_tables, r.sequence, oldest, end).to(at::kFloat),
           window_position.le(position).logical_and(window_position.gt(position - p.window_tokens))}};
      if (p.selected.present()) {
        const at::Tensor tables = Wrap(device, p.batch.block_tables);
        parts.push_back(ListedRows(Wrap(device, p.entries), tables.select(0, r.sequence),
                                   Wrap(device, p.selected).narrow(0, row, count)));
      } else if (p.entries.present() && end / ratio > 0) {
        const at::Tensor tables = Wrap(device, p.batch.block_tables);
        parts.push_back({CachedRows(Wrap(device, p.entries), tables, r.sequence, 0, end / ratio).to(at::kFloat),
                         (Range(device, 1, end / ratio + 1) * ratio).unsqueeze(0).le(position + 1)});
      }
      out.narrow(0, row, count).copy_(Attend(q.narrow(0, row, count).to(at::kFloat), parts, dim, p.scale, sink));
    }
  });
}

void IndexTopK(const at::Device& device, const IndexTopKParams& p) {
  const at::Tensor q = Wrap(device, p.q), weights = Wrap(device, p.weights), keys = Wrap(device, p.keys);
  const at::Tensor selected = Wrap(device, p.selected), tables = Wrap(device, p.batch.block_tables);
  const int64_t top_k = p.selected.size(1), heads = p.q.size(1);
  selected.fill_(-1);
  if (top_k == 0) return;
  ForEachSequence(p.batch, [&](const QueryRange& r) {
    const int64_t entries = r.context_tokens / p.tokens_per_entry;
    if (entries == 0) return;
    const at::Tensor k = CachedRows(keys, tables, r.sequence, 0, entries).to(at::kFloat);
    const at::Tensor entry = Range(device, 0, entries).unsqueeze(0);
    const int64_t step = QueriesAtOnce(heads * entries);
    for (int64_t begin = 0; begin < r.count; begin += step) {
      const int64_t count = std::min(step, r.count - begin), row = r.begin + begin;
      const at::Tensor seen = (Positions(r, begin, count, device) + 1).floor_divide(p.tokens_per_entry);
      const at::Tensor product = at::matmul(q.narrow(0, row, count).to(at::kFloat), k.t());
      const at::Tensor positive = at::where(product.gt(0), product, 0.0);  // NaN becomes 0
      at::Tensor score = (positive * weights.narrow(0, row, count).unsqueeze(2)).sum(1);
      score = score.masked_fill(score.isnan().logical_or(entry.ge(seen)), kMinusInfinity);
      // topk promises no order of equal scores. What is not seen lies behind everything that is.
      const auto [sorted, order] = score.sort(/*stable=*/true, 1, /*descending=*/true);
      const int64_t taken = std::min(top_k, entries);
      const at::Tensor best = order.narrow(1, 0, taken);
      const at::Tensor rising = std::get<0>(at::where(best.lt(seen), best, entries).sort(1));
      selected.narrow(0, row, count).narrow(1, 0, taken).copy_(rising.masked_fill(rising.eq(entries), -1));
    }
  });
}

}  // namespace hadal::kernels::torch
