// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/sample_draw.h"

#include <algorithm>
#include <bit>
#include <vector>

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

// Weights are in [0, 1]; the upper half of their bits is their bucket, so that buckets are in order of weight.
constexpr int64_t kBuckets = 0x3F80 + 1;
int64_t Bucket(float weight) { return std::bit_cast<uint32_t>(weight) >> 16; }

// Keeps in ids[0, n) what top-p keeps and returns how many; the order of the ids changes. Whole buckets are taken from
// the heaviest down; only the one in which top_p is reached has to be sorted.
int64_t KeepTopP(float top_p, const float* z, const float* weights, int32_t* ids, int64_t n) {
  std::vector<double> sums(kBuckets, 0.0);
  for (int64_t i = 0; i < n; ++i) sums[Bucket(weights[ids[i]])] += weights[ids[i]];
  double total = 0, sum = 0;
  for (double bucket : sums) total += bucket;
  const double target = top_p * total;
  int64_t last = kBuckets - 1;
  while (last > 0 && sum + sums[last] < target) sum += sums[last--];
  int32_t* const heavier_end = std::partition(ids, ids + n, [&](int32_t id) { return Bucket(weights[id]) > last; });
  int32_t* const last_end =
      std::partition(heavier_end, ids + n, [&](int32_t id) { return Bucket(weights[id]) == last; });
  std::sort(heavier_end, last_end, [&](int32_t a, int32_t b) { return z[a] != z[b] ? z[a] > z[b] : a < b; });
  int32_t* kept = heavier_end;
  while (kept < last_end && sum < target) sum += weights[*kept++];
  return std::max<int64_t>(kept - ids, 1);
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
