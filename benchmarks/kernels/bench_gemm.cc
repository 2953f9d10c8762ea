// SPDX-License-Identifier: Apache-2.0
//
// Linear layers of a 1.5B qwen2 model (hidden 1536, intermediate 8960, vocabulary 151936) at decode and prefill row
// counts, and the experts of DeepSeek-V2-Lite (64 of 1408 x 2048, 6 a token).
//
//   gb_s      bytes of weights read a second; the weights rotate through a buffer larger than the caches
//   gflop_s   2 * m * n * k a second
//   bw_share  gb_s over the read bandwidth of all cores, measured in the same run
//
// bench_gemm --benchmark_format=json writes JSON. HADAL_BENCH_ISA picks the instruction set (default auto).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include "kernels/backend.h"

namespace hadal::kernels {
namespace {

constexpr int64_t kPoolBytes = int64_t{1} << 30;

Backend& TheBackend() {
  static const std::unique_ptr<Backend> backend = [] {
    const char* isa = std::getenv("HADAL_BENCH_ISA");
    return *CreateBackend("cpu", {.isa = isa != nullptr ? isa : "auto"});
  }();
  return *backend;
}

// Weights: small varied values that are normal numbers in bf16 and f16 alike.
char* WeightPool() {
  static const Buffer buffer = [] {
    Buffer b = *TheBackend().Allocate(kPoolBytes);
    uint16_t* words = static_cast<uint16_t*>(b.data());
    uint32_t state = 1;
    for (int64_t i = 0; i < kPoolBytes / 2; ++i) {
      state = state * 1664525u + 1013904223u;
      words[i] = static_cast<uint16_t>(0x3C00 + (state >> 24));
    }
    return b;
  }();
  return static_cast<char*>(buffer.data());
}

uint64_t SumWords(const uint64_t* words, int64_t count) {
  uint64_t sums[8] = {};
  for (int64_t i = 0; i + 8 <= count; i += 8) {
    for (int l = 0; l < 8; ++l) sums[l] += words[i + l];
  }
  uint64_t total = 0;
  for (uint64_t sum : sums) total += sum;
  return total;
}

// Best of five passes over the pool by all cores, GB/s.
double ReadBandwidth() {
  static const double bandwidth = [] {
    const int threads = std::max(1u, std::thread::hardware_concurrency());
    const uint64_t* words = reinterpret_cast<const uint64_t*>(WeightPool());
    const int64_t share = kPoolBytes / 8 / threads;
    double best = 0;
    for (int pass = 0; pass < 5; ++pass) {
      const auto start = std::chrono::steady_clock::now();
      std::vector<std::thread> readers;
      for (int t = 0; t < threads; ++t) {
        readers.emplace_back([&, t] { benchmark::DoNotOptimize(SumWords(words + t * share, share)); });
      }
      for (std::thread& reader : readers) reader.join();
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      best = std::max(best, static_cast<double>(kPoolBytes) / seconds.count() / 1e9);
    }
    return best;
  }();
  return bandwidth;
}

void Linear(benchmark::State& state, DType dtype) {
  const int64_t n = state.range(0), k = state.range(1), m = state.range(2);
  Backend& backend = TheBackend();
  char* pool = WeightPool();
  const int64_t bytes = n * k * DTypeBytes(dtype), copies = std::max<int64_t>(1, kPoolBytes / bytes);
  Buffer x = *backend.Allocate(m * k * DTypeBytes(dtype)), out = *backend.Allocate(m * n * DTypeBytes(dtype));
  (void)backend.Copy(x.data(), pool, x.bytes());
  int64_t next = 0;
  for (auto _ : state) {
    const absl::Status status = backend.Gemm({.x = TensorView(x.data(), dtype, {m, k}),
                                              .w = WeightView::Plain(TensorView(pool + next * bytes, dtype, {n, k})),
                                              .bias = {},
                                              .out = TensorView(out.data(), dtype, {m, n})});
    if (!status.ok()) state.SkipWithError(status.ToString().c_str());
    next = (next + 1) % copies;
  }
  const double calls = static_cast<double>(state.iterations());
  using benchmark::Counter;
  state.counters["gb_s"] = Counter(calls * static_cast<double>(bytes) / 1e9, Counter::kIsRate);
  state.counters["gflop_s"] = Counter(calls * 2e-9 * static_cast<double>(m * n * k), Counter::kIsRate);
  state.counters["bw_share"] = Counter(calls * static_cast<double>(bytes) / 1e9 / ReadBandwidth(), Counter::kIsRate);
}

void Shapes(benchmark::internal::Benchmark* b) {
  b->UseRealTime()->Unit(benchmark::kMicrosecond)->ArgNames({"n", "k", "m"});
  for (int64_t m : {1, 2, 4, 8, 16, 32, 128, 512}) {
    for (const auto& [n, k] : std::vector<std::pair<int64_t, int64_t>>{
             {1536, 1536}, {256, 1536}, {8960, 1536}, {1536, 8960}, {151936, 1536}}) {
      if (n == 151936 && m > 32) continue;  // logits are wanted for few rows
      b->Args({n, k, m});
    }
  }
}

// `tokens` spread evenly over the experts. gb_s counts the experts that have rows.
void Bf16Experts(benchmark::State& state) {
  constexpr int64_t kExperts = 64, kTopK = 6, n = 1408, k = 2048;
  const int64_t rows = state.range(0) * kTopK;
  Backend& backend = TheBackend();
  char* pool = WeightPool();
  const int64_t bytes = n * k * DTypeBytes(DType::kBF16);
  std::vector<int64_t> addresses;
  std::vector<int32_t> start = {0};
  for (int64_t e = 0; e < kExperts; ++e) {
    addresses.push_back(reinterpret_cast<int64_t>(pool + e * bytes));
    start.push_back(static_cast<int32_t>(rows * (e + 1) / kExperts));
  }
  Buffer x = *backend.Allocate(rows * k * 2), out = *backend.Allocate(rows * n * 2);
  (void)backend.Copy(x.data(), pool, x.bytes());
  for (auto _ : state) {
    const absl::Status status =
        backend.GroupedGemm({.x = TensorView(x.data(), DType::kBF16, {rows, k}),
                             .expert_start = TensorView(start.data(), DType::kI32, {kExperts + 1}),
                             .w = {.values = TensorView(addresses.data(), DType::kI64, {kExperts}),
                                   .scales = {},
                                   .each = WeightView::Plain(TensorView(pool, DType::kBF16, {n, k}))},
                             .out = TensorView(out.data(), DType::kBF16, {rows, n})});
    if (!status.ok()) state.SkipWithError(status.ToString().c_str());
  }
  const double read = static_cast<double>(std::min(rows, kExperts) * bytes) * static_cast<double>(state.iterations());
  state.counters["gb_s"] = benchmark::Counter(read / 1e9, benchmark::Counter::kIsRate);
  state.counters["bw_share"] = benchmark::Counter(read / 1e9 / ReadBandwidth(), benchmark::Counter::kIsRate);
}

void Bf16Linear(benchmark::State& state) { Linear(state, DType::kBF16); }
void F16Linear(benchmark::State& state) { Linear(state, DType::kF16); }
BENCHMARK(Bf16Linear)->Apply(Shapes);
BENCHMARK(F16Linear)->Apply(Shapes);
BENCHMARK(Bf16Experts)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond)
    ->ArgName("tokens")
    ->RangeMultiplier(8)
    ->Range(1, 512);

}  // namespace
}  // namespace hadal::kernels

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("backend", hadal::kernels::TheBackend().description());
  benchmark::AddCustomContext("read_bandwidth_gb_s", std::to_string(hadal::kernels::ReadBandwidth()));
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
