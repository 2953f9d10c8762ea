// SPDX-License-Identifier: Apache-2.0
#include <ATen/TensorIndexing.h>
#include <ATen/ops/index.h>
#include <ATen/ops/index_put.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/ops/philox.h"
#include "kernels/torch/tensors.h"
#include "kernels/torch/torch_ops.h"

namespace hadal::kernels::torch {
namespace {

constexpr double kForbiddenLogit = -std::numeric_limits<double>::infinity();
constexpr int64_t kSortedValues = int64_t{4} << 20;  // of rows that are sorted at a time

// One value a row of a chunk.
template <typename T, typename Get>
at::Tensor Column(const at::Device& device, absl::Span<const SampleRowParams> rows, Get get) {
  std::vector<T> values;
  for (const SampleRowParams& row : rows) values.push_back(static_cast<T>(get(row)));
  return ToDevice(device, values).unsqueeze(1);
}

void AddPenalties(const at::Device& device, absl::Span<const SampleRowParams> rows, at::Tensor z) {
  std::vector<int64_t> at_row, at_token;
  std::vector<float> factor, subtracted;
  for (size_t i = 0; i < rows.size(); ++i) {
    for (const SamplePenalty& penalty : rows[i].penalties) {
      const bool in_output = penalty.output_count > 0;
      at_row.push_back(static_cast<int64_t>(i));
      at_token.push_back(penalty.token_id);
      factor.push_back(in_output || penalty.in_prompt ? rows[i].repetition_penalty : 1.0f);
      subtracted.push_back(in_output ? rows[i].frequency_penalty * static_cast<float>(penalty.output_count) +
                                           rows[i].presence_penalty
                                     : 0.0f);
    }
  }
  if (at_row.empty()) return;
  const at::Tensor row = ToDevice(device, at_row), token = ToDevice(device, at_token);
  const at::Tensor by = ToDevice(device, factor), value = z.index({row, token});
  const at::Tensor repeated =
      at::where(value.gt(0), value / by, value * by).clamp_max(std::numeric_limits<float>::max());
  z.index_put_({row, token}, repeated - ToDevice(device, subtracted));
}

void AddBiases(const at::Device& device, absl::Span<const SampleRowParams> rows, at::Tensor z) {
  std::vector<int64_t> at_row, at_token;
  std::vector<float> bias;
  for (size_t i = 0; i < rows.size(); ++i) {
    for (const SampleBias& entry : rows[i].biases) {
      at_row.push_back(static_cast<int64_t>(i));
      at_token.push_back(entry.token_id);
      bias.push_back(entry.bias);
    }
  }
  if (at_row.empty()) return;
  z.index_put_({ToDevice(device, at_row), ToDevice(device, at_token)}, ToDevice(device, bias), /*accumulate=*/true);
}

void ForbidTokens(const at::Device& device, absl::Span<const SampleRowParams> rows, at::Tensor z) {
  const int64_t vocab = z.size(1), words = (vocab + 31) / 32;
  std::vector<int64_t> masked_rows, mask;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].allowed_mask.empty()) continue;
    masked_rows.push_back(static_cast<int64_t>(i));
    mask.insert(mask.end(), rows[i].allowed_mask.begin(), rows[i].allowed_mask.begin() + words);
  }
  if (masked_rows.empty()) return;
  const at::Tensor word = ToDevice(device, mask).view({-1, words, 1});
  const at::Tensor bits = word.bitwise_right_shift(Range(device, 0, 32)).bitwise_and(1).flatten(1).narrow(1, 0, vocab);
  const at::Tensor row = ToDevice(device, masked_rows);
  z.index_copy_(0, row, z.index_select(0, row).masked_fill(bits.eq(0), kForbiddenLogit));
}

// Draws from the softmax of z / temperature, cut by top-k, top-p and min-p; in float64. [rows]
at::Tensor Draw(const at::Device& device, absl::Span<const SampleRowParams> rows, const at::Tensor& z) {
  const int64_t vocab = z.size(1);
  const auto [sorted, order] = z.sort(/*stable=*/true, 1, /*descending=*/true);
  const at::Tensor best = sorted.narrow(1, 0, 1).to(at::kDouble);
  const at::Tensor temperature = Column<double>(device, rows, [](const auto& r) { return r.temperature; });
  at::Tensor weight = ((sorted.to(at::kDouble) - best) / temperature).exp();
  const at::Tensor top_k = Column<int64_t>(
      device, rows, [&](const auto& r) { return r.top_k > 0 ? std::min<int64_t>(r.top_k, vocab) : vocab; });
  const at::Tensor rank = Range(device, 0, vocab).unsqueeze(0);
  weight = weight.masked_fill(rank.ge(top_k), 0.0);
  // A token stays while the sum before it has not reached top_p. 2 keeps all where there is no bound.
  const at::Tensor top_p =
      Column<double>(device, rows, [](const auto& r) { return r.top_p < 1 ? double{r.top_p} : 2.0; });
  const at::Tensor before = weight.cumsum(1) - weight;
  const at::Tensor reached = before.ge(top_p * weight.sum(1, /*keepdim=*/true)).logical_and(rank.gt(0));
  const at::Tensor min_p = Column<double>(device, rows, [](const auto& r) { return r.min_p; });
  weight = weight.masked_fill(reached.logical_or(weight.lt(min_p)), 0.0);
  // In id order.
  weight = at::zeros_like(weight).scatter(1, order, weight);
  const at::Tensor sums = weight.cumsum(1);
  const at::Tensor uniform =
      Column<double>(device, rows, [](const auto& r) { return SampleUniform(r.seed, r.random_counter); });
  const at::Tensor drawn = sums.gt(uniform * sums.narrow(1, vocab - 1, 1)).logical_and(weight.gt(0));
  const at::Tensor last = at::where(weight.gt(0), rank, -1).amax(1);
  return at::where(drawn.any(1), drawn.to(at::kByte).argmax(1), last);
}

// Tokens by the rules, from adjusted logits [rows, vocab].
at::Tensor Choose(const at::Device& device, absl::Span<const SampleRowParams> rows, const at::Tensor& z) {
  at::Tensor tokens = z.argmax(1);
  std::vector<int64_t> drawn_rows;
  std::vector<SampleRowParams> drawn;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].temperature == 0 || rows[i].target_token >= 0) continue;
    drawn_rows.push_back(static_cast<int64_t>(i));
    drawn.push_back(rows[i]);
  }
  if (!drawn.empty()) {
    const at::Tensor row = ToDevice(device, drawn_rows);
    tokens.index_copy_(0, row, Draw(device, drawn, z.index_select(0, row)));
  }
  const at::Tensor target = Column<int64_t>(device, rows, [](const auto& r) { return r.target_token; }).squeeze(1);
  return at::where(target.ge(0), target, tokens);
}

void WriteLogprobs(const at::Device& device, const SampleParams& p, absl::Span<const SampleRowParams> rows,
                   int64_t begin, const at::Tensor& logits, const at::Tensor& tokens, const at::Tensor& good) {
  const int64_t count = static_cast<int64_t>(rows.size());
  const at::Tensor wanted = Column<int64_t>(device, rows, [](const auto& r) { return r.top_logprobs; });
  const at::Tensor logprobs = logits.to(at::kDouble).log_softmax(1);
  const at::Tensor chosen = logprobs.gather(1, tokens.clamp_min(0).unsqueeze(1));
  const at::Tensor reported = good.unsqueeze(1).logical_and(wanted.ge(0));
  Wrap(device, p.out_logprobs).narrow(0, begin, count).copy_(at::where(reported, chosen, 0.0).squeeze(1));
  if (!p.out_top_tokens.present() || p.out_top_tokens.size(1) == 0) return;
  const int64_t columns = std::min(p.out_top_tokens.size(1), logits.size(1));
  const at::Tensor order = std::get<1>(logits.sort(/*stable=*/true, 1, /*descending=*/true)).narrow(1, 0, columns);
  const at::Tensor listed = reported.logical_and(Range(device, 0, columns).unsqueeze(0).lt(wanted));
  const auto rows_of = [&](const TensorView& view) { return Wrap(device, view).narrow(0, begin, count); };
  rows_of(p.out_top_tokens).fill_(-1).narrow(1, 0, columns).copy_(at::where(listed, order, -1));
  rows_of(p.out_top_logprobs).zero_().narrow(1, 0, columns).copy_(at::where(listed, logprobs.gather(1, order), 0.0));
}

}  // namespace

void Sample(const at::Device& device, const SampleParams& p) {
  const int64_t total = p.logits.size(0), step = std::max<int64_t>(1, kSortedValues / p.logits.size(1));
  for (int64_t begin = 0; begin < total; begin += step) {
    const int64_t count = std::min(step, total - begin);
    const auto rows = p.rows.subspan(begin, count);
    const at::Tensor logits = Wrap(device, p.logits.Slice(0, begin, count));
    const at::Tensor faulty = logits.isnan().logical_or(logits.eq(-kForbiddenLogit)).any(1);
    const at::Tensor good = faulty.logical_or(logits.isfinite().any(1).logical_not()).logical_not();
    const at::Tensor z = logits.clone();
    AddPenalties(device, rows, z);
    AddBiases(device, rows, z);
    ForbidTokens(device, rows, z);
    const at::Tensor target = Column<int64_t>(device, rows, [](const auto& r) { return r.target_token; }).squeeze(1);
    const at::Tensor possible = z.amax(1).ne(kForbiddenLogit).logical_or(target.ge(0));
    const at::Tensor status = at::where(good, at::where(possible, kSampleOk, kSampleNothingAllowed), kSampleBadLogits);
    const at::Tensor ok = status.eq(kSampleOk);
    const at::Tensor tokens = at::where(ok, Choose(device, rows, z), -1);
    Wrap(device, p.out_status).narrow(0, begin, count).copy_(status);
    Wrap(device, p.out_tokens).narrow(0, begin, count).copy_(tokens);
    WriteLogprobs(device, p, rows, begin, logits, tokens, ok);
  }
}

}  // namespace hadal::kernels::torch
