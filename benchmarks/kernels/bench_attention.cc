// SPDX-License-Identifier: Apache-2.0
//
// Attention at the shapes of a 1.5B qwen2 model (12 heads, 2 kv heads of 128) and of DeepSeek-V2-Lite and V3 (latent
// 512 + 64, 16 and 128 heads), and the sampler over their vocabularies.
//
//   gflop_s   both products of visible query-key pairs
//   cache_gb_s  bytes of cache that the contexts hold, a second
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "kernels/backend.h"

namespace hadal::kernels {
namespace {

constexpr int64_t kBlockTokens = 64;

Backend& TheBackend() {
  static const std::unique_ptr<Backend> backend = [] {
    const char* isa = std::getenv("HADAL_BENCH_ISA");
    return *CreateBackend("cpu", {.isa = isa != nullptr ? isa : "auto"});
  }();
  return *backend;
}

// `sequences` sequences of `context` tokens, the last `queries` of each being new.
struct Batch {
  std::vector<int32_t> query_start, contexts, table;
  int64_t columns, blocks, tokens;
  RaggedBatch ragged;

  Batch(int64_t sequences, int64_t queries, int64_t context)
      : contexts(sequences, static_cast<int32_t>(context)),
        columns((context + kBlockTokens - 1) / kBlockTokens),
        blocks(columns * sequences),
        tokens(queries * sequences) {
    for (int64_t s = 0; s <= sequences; ++s) query_start.push_back(static_cast<int32_t>(s * queries));
    table.resize(blocks);
    std::iota(table.begin(), table.end(), 0);
    ragged = {TensorView(query_start.data(), DType::kI32, {sequences + 1}),
              TensorView(contexts.data(), DType::kI32, {sequences}),
              TensorView(table.data(), DType::kI32, {sequences, columns}), query_start, contexts};
  }

  // Query-key pairs that a head looks at.
  double Pairs() const {
    double pairs = 0;
    for (size_t s = 0; s < contexts.size(); ++s) {
      const double queries = query_start[s + 1] - query_start[s];
      pairs += queries * contexts[s] - queries * (queries - 1) / 2;
    }
    return pairs;
  }
};

std::vector<uint16_t> Values(int64_t count) {
  std::vector<uint16_t> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<uint16_t>(0x3C00 + i * 7919 % 251);
  return values;
}

void Report(benchmark::State& state, double flop, double bytes) {
  using benchmark::Counter;
  const double calls = static_cast<double>(state.iterations());
  state.counters["gflop_s"] = Counter(calls * flop / 1e9, Counter::kIsRate);
  state.counters["cache_gb_s"] = Counter(calls * bytes / 1e9, Counter::kIsRate);
}

void Gqa(benchmark::State& state) {
  const int64_t heads = 12, kv_heads = 2, dim = 128;
  Batch batch(state.range(0), state.range(1), state.range(2));
  const auto keys = Values(batch.blocks * kBlockTokens * kv_heads * dim), values = keys;
  const auto q = Values(batch.tokens * heads * dim);
  auto out = q;
  const TensorView k(keys.data(), DType::kBF16, {batch.blocks, kBlockTokens, kv_heads, dim});
  const TensorView v(values.data(), DType::kBF16, {batch.blocks, kBlockTokens, kv_heads, dim});
  for (auto _ : state) {
    const absl::Status status =
        TheBackend().PagedAttention({.q = TensorView(q.data(), DType::kBF16, {batch.tokens, heads, dim}),
                                     .k_cache = k,
                                     .v_cache = v,
                                     .out = TensorView(out.data(), DType::kBF16, {batch.tokens, heads, dim}),
                                     .batch = batch.ragged,
                                     .scale = 0.088f});
    if (!status.ok()) state.SkipWithError(status.ToString().c_str());
  }
  Report(state, batch.Pairs() * static_cast<double>(heads * 4 * dim),
         static_cast<double>(state.range(0) * state.range(2) * kv_heads * dim * 4));
}
BENCHMARK(Gqa)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond)
    ->ArgNames({"sequences", "queries", "context"})
    ->Args({1, 1, 1024})
    ->Args({8, 1, 1024})
    ->Args({32, 1, 1024})
    ->Args({1, 512, 512})
    ->Args({1, 512, 4096});

void Mla(benchmark::State& state) {
  const int64_t heads = state.range(3), latent = 512, rope = 64;
  Batch batch(state.range(0), state.range(1), state.range(2));
  const auto cache = Values(batch.blocks * kBlockTokens * (latent + rope));
  const auto q = Values(batch.tokens * heads * latent);
  auto out = q;
  for (auto _ : state) {
    const absl::Status status = TheBackend().MlaAttention(
        {.q_lat = TensorView(q.data(), DType::kBF16, {batch.tokens, heads, latent}),
         .q_pe = TensorView(q.data(), DType::kBF16, {batch.tokens, heads, rope}),
         .cache = TensorView(cache.data(), DType::kBF16, {batch.blocks, kBlockTokens, latent + rope}),
         .o_lat = TensorView(out.data(), DType::kBF16, {batch.tokens, heads, latent}),
         .batch = batch.ragged,
         .scale = 0.13f});
    if (!status.ok()) state.SkipWithError(status.ToString().c_str());
  }
  Report(state, batch.Pairs() * static_cast<double>(heads * 2 * (2 * latent + rope)),
         static_cast<double>(state.range(0) * state.range(2) * (latent + rope) * 2));
}
BENCHMARK(Mla)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond)
    ->ArgNames({"sequences", "queries", "context", "heads"})
    ->Args({1, 1, 1024, 16})
    ->Args({1, 1, 1024, 128})
    ->Args({8, 1, 1024, 16})
    ->Args({1, 128, 128, 16});

void Sampling(benchmark::State& state) {
  const int64_t rows = state.range(0), vocab = 151936;
  std::vector<float> logits(rows * vocab);
  uint32_t random = 1;
  for (float& value : logits) {
    random = random * 1664525u + 1013904223u;
    value = static_cast<float>(random >> 8) * 0x1p-24f * 12.0f;
  }
  std::vector<int32_t> tokens(rows), status_words(rows);
  std::vector<float> logprobs(rows);
  std::vector<SampleRowParams> params(rows);
  for (SampleRowParams& row : params) {
    row.temperature = state.range(1) == 0 ? 0.0f : 0.6f;
    row.top_p = state.range(1) == 2 ? 0.95f : 1.0f;
  }
  for (auto _ : state) {
    const absl::Status status =
        TheBackend().Sample({.logits = TensorView(logits.data(), DType::kF32, {rows, vocab}),
                             .rows = params,
                             .out_tokens = TensorView(tokens.data(), DType::kI32, {rows}),
                             .out_logprobs = TensorView(logprobs.data(), DType::kF32, {rows}),
                             .out_top_tokens = {},
                             .out_top_logprobs = {},
                             .out_status = TensorView(status_words.data(), DType::kI32, {rows})});
    if (!status.ok()) state.SkipWithError(status.ToString().c_str());
  }
}
BENCHMARK(Sampling)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond)
    ->ArgNames({"rows", "mode_greedy0_plain1_topp2"})
    ->ArgsProduct({{1, 32}, {0, 1, 2}});

}  // namespace
}  // namespace hadal::kernels

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("backend", hadal::kernels::TheBackend().description());
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
