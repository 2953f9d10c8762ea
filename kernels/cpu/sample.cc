// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/sample_draw.h"

namespace hadal::kernels::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kChunk = 4096;

// No NaN, no +infinity, something finite.
bool GoodLogits(const float* z, int64_t n) {
  int bad = 0, finite = 0;
  for (int64_t i = 0; i < n; ++i) {
    bad |= !(z[i] < kInfinity);
    finite |= z[i] > -kInfinity;
  }
  return bad == 0 && finite != 0;
}

// Applies penalties, biases and mask to z[vocab].
void Adjust(const SampleRowParams& row, float* z, int64_t vocab) {
  for (const SamplePenalty& penalty : row.penalties) {
    float& value = z[penalty.token_id];
    if (penalty.in_prompt || penalty.output_count > 0) {
      value = value > 0 ? value / row.repetition_penalty : value * row.repetition_penalty;
      value = std::min(value, std::numeric_limits<float>::max());
    }
    if (penalty.output_count > 0) {
      value -= row.frequency_penalty * static_cast<float>(penalty.output_count) + row.presence_penalty;
    }
  }
  for (const SampleBias& bias : row.biases) z[bias.token_id] += bias.bias;
  if (row.allowed_mask.empty()) return;
  for (int64_t t = 0; t < vocab; ++t) {
    if ((row.allowed_mask[t / 32] >> (t % 32) & 1u) == 0) z[t] = -kInfinity;
  }
}

double LogSumExp(const KernelTable& table, const float* logits, int64_t n, float* scratch) {
  const float best = table.max(logits, n);
  double total = 0;
  for (int64_t i = 0; i < n; i += kChunk) {
    const int64_t count = std::min(kChunk, n - i);
    std::copy(logits + i, logits + i + count, scratch);
    total += table.exp_sum(scratch, best, count);
  }
  return best + std::log(total);
}

// The `count` largest logits in order, by insertion into a short sorted list. `count` is at most n.
void TopLogits(const float* logits, int64_t n, int64_t count, int32_t* ids) {
  int64_t size = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (size == count && !(logits[i] > logits[ids[size - 1]])) continue;
    int64_t place = size < count ? size++ : size - 1;
    for (; place > 0 && logits[i] > logits[ids[place - 1]]; --place) ids[place] = ids[place - 1];
    ids[place] = static_cast<int32_t>(i);
  }
}

int32_t Choose(const KernelTable& table, const SampleRowParams& row, const float* logits, int64_t vocab, float* scratch,
               int32_t* status) {
  if (!GoodLogits(logits, vocab)) {
    *status = kSampleBadLogits;
    return -1;
  }
  if (row.target_token >= 0) return row.target_token;
  const bool adjusts = !row.penalties.empty() || !row.biases.empty() || !row.allowed_mask.empty();
  const float* z = logits;
  if (adjusts) {
    std::copy(logits, logits + vocab, scratch);
    Adjust(row, scratch, vocab);
    z = scratch;
    if (table.max(z, vocab) == -kInfinity) {
      *status = kSampleNothingAllowed;
      return -1;
    }
  }
  return DrawToken(table, row, z, vocab, scratch + vocab, reinterpret_cast<int32_t*>(scratch + 2 * vocab));
}

void SampleRow(const KernelTable& table, const SampleParams& p, int64_t i, float* scratch) {
  const SampleRowParams& row = p.rows[i];
  const int64_t vocab = p.logits.size(1);
  const float* logits = p.logits.row<const float>(i);
  const int64_t columns = p.out_top_tokens.present() ? p.out_top_tokens.size(1) : 0;
  int32_t status = kSampleOk;
  const int32_t token = Choose(table, row, logits, vocab, scratch, &status);
  p.out_status.as<int32_t>()[i] = status;
  p.out_tokens.as<int32_t>()[i] = token;
  p.out_logprobs.as<float>()[i] = 0;
  int32_t* top_tokens = p.out_top_tokens.as<int32_t>() + i * columns;
  float* top_logprobs = p.out_top_logprobs.as<float>() + i * columns;
  std::fill(top_tokens, top_tokens + columns, -1);
  std::fill(top_logprobs, top_logprobs + columns, 0.0f);
  if (status != kSampleOk || row.top_logprobs < 0) return;
  const double normaliser = LogSumExp(table, logits, vocab, scratch);
  p.out_logprobs.as<float>()[i] = static_cast<float>(logits[token] - normaliser);
  const int64_t top = std::min<int64_t>(row.top_logprobs, vocab);
  if (top > 0) TopLogits(logits, vocab, top, top_tokens);
  for (int64_t j = 0; j < top; ++j) top_logprobs[j] = static_cast<float>(logits[top_tokens[j]] - normaliser);
}

}  // namespace

void Sample(Context& context, const SampleParams& p) {
  const int64_t scratch_floats = 3 * std::max(p.logits.size(1), kChunk);
  context.pool.ParallelFor(p.logits.size(0), 1, [&](int64_t begin, int64_t end, int worker) {
    float* scratch = context.worker_scratch[worker].Get<float>(scratch_floats);
    for (int64_t i = begin; i < end; ++i) SampleRow(context.table, p, i, scratch);
  });
}

}  // namespace hadal::kernels::cpu
