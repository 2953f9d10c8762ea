// SPDX-License-Identifier: Apache-2.0
//
// Fused ops on the CPU, which runs their parts, beside those parts called one by one as models did before: both take
// turns within each iteration, on rows of a 1.5B qwen3-like model (12 and 2 heads of 128, hidden 1536, intermediate
// 8960) and of DeepSeek-V2-Lite's router (64 experts, 6 a token, hidden 2048).
//
//   fused_us, parts_us   the least time of one call, of all parts
//   ratio                fused_us over parts_us: what a fused op costs a backend without a kernel for it
//
// bench_fused --benchmark_format=json writes JSON.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "kernels/backend.h"

namespace hadal::kernels {
namespace {

constexpr int64_t kHeads = 12, kKvHeads = 2, kDim = 128, kHidden = 1536, kInter = 8960, kMaxPositions = 1024;
constexpr int64_t kExperts = 64, kTopK = 6, kRouted = 2048;

Backend& TheBackend() {
  static const std::unique_ptr<Backend> backend = *CreateBackend("cpu", {});
  return *backend;
}

// Memory of one benchmark, filled with small numbers that are normal in bf16 and f32 alike.
class Pool {
 public:
  TensorView Take(DType dtype, std::initializer_list<int64_t> sizes) {
    TensorView view(nullptr, dtype, sizes);
    buffers_.push_back(*TheBackend().Allocate(std::max<int64_t>(view.numel() * DTypeBytes(dtype), 1)));
    auto* words = static_cast<uint16_t*>(buffers_.back().data());
    for (int64_t i = 0; i < view.numel() * DTypeBytes(dtype) / 2; ++i) {
      words[i] = static_cast<uint16_t>(0x3C00 + (i * 7919) % 256);
    }
    return TensorView(buffers_.back().data(), dtype, sizes);
  }

  TensorView Counted(DType dtype, int64_t count) {
    const TensorView view = Take(dtype, {count});
    for (int64_t i = 0; i < count; ++i) {
      if (dtype == DType::kI32) view.as<int32_t>()[i] = static_cast<int32_t>(i);
      if (dtype == DType::kI64) view.as<int64_t>()[i] = i;
    }
    return view;
  }

 private:
  std::vector<Buffer> buffers_;
};

using Call = absl::FunctionRef<absl::Status()>;

double Microseconds(benchmark::State& state, Call call) {
  const auto start = std::chrono::steady_clock::now();
  const absl::Status status = call();
  const std::chrono::duration<double, std::micro> spent = std::chrono::steady_clock::now() - start;
  if (!status.ok()) state.SkipWithError(status.ToString().c_str());
  return spent.count();
}

// Takes the least, since whatever else the machine does only adds.
void Compare(benchmark::State& state, Call fused, Call parts) {
  double fused_us = std::numeric_limits<double>::infinity(), parts_us = fused_us;
  bool fused_first = false;
  for (auto _ : state) {
    fused_first = !fused_first;
    if (fused_first) fused_us = std::min(fused_us, Microseconds(state, fused));
    parts_us = std::min(parts_us, Microseconds(state, parts));
    if (!fused_first) fused_us = std::min(fused_us, Microseconds(state, fused));
  }
  state.counters["fused_us"] = fused_us;
  state.counters["parts_us"] = parts_us;
  state.counters["ratio"] = fused_us / parts_us;
}

void RopeKvAppend(benchmark::State& state) {
  const int64_t tokens = state.range(0);
  Backend& backend = TheBackend();
  Pool pool;
  const TensorView q = pool.Take(DType::kBF16, {tokens, kHeads, kDim}),
                   k = pool.Take(DType::kBF16, {tokens, kKvHeads, kDim});
  const TensorView weight = pool.Take(DType::kBF16, {kDim});
  RopeKvAppendParams p;
  p.q_norm = {.x = q, .residual = {}, .weight = weight, .out = q};
  p.k_norm = {.x = k, .residual = {}, .weight = weight, .out = k};
  p.rope = {.q = q,
            .k = k,
            .positions = pool.Counted(DType::kI32, tokens),
            .cos = pool.Take(DType::kF32, {kMaxPositions, kDim / 2}),
            .sin = pool.Take(DType::kF32, {kMaxPositions, kDim / 2})};
  p.append = {.k = k,
              .v = pool.Take(DType::kBF16, {tokens, kKvHeads, kDim}),
              .k_cache = pool.Take(DType::kBF16, {kMaxPositions / 64, 64, kKvHeads, kDim}),
              .v_cache = pool.Take(DType::kBF16, {kMaxPositions / 64, 64, kKvHeads, kDim}),
              .slot_mapping = pool.Counted(DType::kI64, tokens)};
  Compare(
      state, [&] { return backend.RopeKvAppend(p); },
      [&] {
        if (absl::Status s = backend.RmsNorm(p.q_norm); !s.ok()) return s;
        if (absl::Status s = backend.RmsNorm(p.k_norm); !s.ok()) return s;
        if (absl::Status s = backend.Rope(p.rope); !s.ok()) return s;
        return backend.KvAppend(p.append);
      });
}

void MoeGate(benchmark::State& state) {
  const int64_t tokens = state.range(0);
  Backend& backend = TheBackend();
  Pool pool;
  MoeGateParams p;
  p.gate = {.x = pool.Take(DType::kBF16, {tokens, kRouted}),
            .w = WeightView::Plain(pool.Take(DType::kBF16, {kExperts, kRouted})),
            .bias = {},
            .out = pool.Take(DType::kF32, {tokens, kExperts})};
  p.route.logits = p.gate.out;
  p.route.ids = pool.Take(DType::kI32, {tokens, kTopK});
  p.route.weights = pool.Take(DType::kF32, {tokens, kTopK});
  Compare(
      state, [&] { return backend.MoeGate(p); },
      [&] {
        if (absl::Status s = backend.Gemm(p.gate); !s.ok()) return s;
        return backend.MoeRoute(p.route);
      });
}

void GemmSiluMul(benchmark::State& state) {
  const int64_t tokens = state.range(0);
  Backend& backend = TheBackend();
  Pool pool;
  GemmSiluMulParams p;
  p.product = {.x = pool.Take(DType::kBF16, {tokens, kHidden}),
               .w = WeightView::Plain(pool.Take(DType::kBF16, {2 * kInter, kHidden})),
               .bias = {},
               .out = pool.Take(DType::kBF16, {tokens, 2 * kInter})};
  p.activation.gate = p.product.out.Slice(1, 0, kInter);
  p.activation.up = p.product.out.Slice(1, kInter, kInter);
  p.activation.out = p.activation.gate;
  Compare(
      state, [&] { return backend.GemmSiluMul(p); },
      [&] {
        if (absl::Status s = backend.Gemm(p.product); !s.ok()) return s;
        return backend.SiluMul(p.activation);
      });
}

void Tokens(benchmark::internal::Benchmark* b) {
  b->UseRealTime()->Unit(benchmark::kMicrosecond)->ArgName("tokens")->Arg(1)->Arg(8)->Arg(64)->Arg(512);
}
BENCHMARK(RopeKvAppend)->Apply(Tokens);
BENCHMARK(MoeGate)->Apply(Tokens);
BENCHMARK(GemmSiluMul)->Apply(Tokens);

}  // namespace
}  // namespace hadal::kernels

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("backend", hadal::kernels::TheBackend().description());
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
