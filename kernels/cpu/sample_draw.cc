// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/sample_draw.h"

#include <algorithm>

#include "kernels/ops/philox.h"

namespace hadal::kernels::cpu {
namespace {

constexpr int64_t kChunk = 4096;  // float sums of this many weights are collected in a double

// weights = exp((z - best) / temperature).
void Weigh(const KernelTable& table, const float* z, float best, float temperature, float* weights, int64_t n) {
  for (int64_t i = 0; i < n; ++i) weights[i] = (z[i] - best) / temperature;
  for (int64_t i = 0; i < n; i += kChunk) table.exp_sum(weights + i, 0.0f, std::min(kChunk, n - i));
}

double Sum(const float* weights, const int32_t* ids, int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += weights[ids[i]];
  return total;
}

// Draws among all tokens: two passes over the weights, no list of ids.
int32_t DrawFromAll(const SampleRowParams& row, const float* weights, int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += weights[i];
  const double target = SampleUniform(row.seed, row.random_counter) * total;
  double sum = 0;
  int64_t last = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (weights[i] == 0) continue;
    sum += weights[i];
    last = i;
    if (sum > target) break;
  }
  return static_cast<int32_t>(last);
}

// Keeps in ids[0, n) what top-p keeps; returns how many. The ids are sorted by value then.
int64_t KeepTopP(float top_p, const float* z, const float* weights, int32_t* ids, int64_t n) {
  const double total = Sum(weights, ids, n);
  // Tokens lighter than this weigh less than 1 - top_p together, so the kept ones are among the others.
  const double negligible = (1.0 - top_p) * total / static_cast<double>(n);
  int64_t candidates = std::partition(ids, ids + n, [&](int32_t id) { return weights[id] >= negligible; }) - ids;
  std::sort(ids, ids + candidates, [&](int32_t a, int32_t b) { return z[a] != z[b] ? z[a] > z[b] : a < b; });
  double sum = 0;
  int64_t kept = 0;
  while (kept < candidates && sum < top_p * total) sum += weights[ids[kept++]];
  return std::max<int64_t>(kept, 1);
}

}  // namespace

int64_t ArgMax(const KernelTable& table, const float* z, int64_t n) {
  const float best = table.max(z, n);
  return std::find(z, z + n, best) - z;
}

int32_t DrawToken(const KernelTable& table, const SampleRowParams& row, const float* z, int64_t vocab, float* weights,
                  int32_t* ids) {
  if (row.temperature == 0) return static_cast<int32_t>(ArgMax(table, z, vocab));
  Weigh(table, z, table.max(z, vocab), row.temperature, weights, vocab);
  const bool cuts_k = row.top_k > 0 && row.top_k < vocab;
  if (!cuts_k && row.top_p >= 1 && row.min_p <= 0) return DrawFromAll(row, weights, vocab);
  int64_t n = vocab;
  for (int64_t i = 0; i < vocab; ++i) ids[i] = static_cast<int32_t>(i);
  if (cuts_k) {
    n = row.top_k;
    std::nth_element(ids, ids + n - 1, ids + vocab,
                     [&](int32_t a, int32_t b) { return z[a] != z[b] ? z[a] > z[b] : a < b; });
  }
  if (row.top_p < 1) n = KeepTopP(row.top_p, z, weights, ids, n);
  n = std::remove_if(ids, ids + n, [&](int32_t id) { return weights[id] < row.min_p || weights[id] == 0; }) - ids;
  std::sort(ids, ids + n);
  const double target = SampleUniform(row.seed, row.random_counter) * Sum(weights, ids, n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += weights[ids[i]];
    if (sum > target) return ids[i];
  }
  return ids[n - 1];
}

}  // namespace hadal::kernels::cpu
