// SPDX-License-Identifier: Apache-2.0
//
// The kernel for few rows against cuBLASLt, with its first algorithm and with the one that was the quickest, at the
// shapes of decode steps: all must agree, and on a GPU the result page of scripts/gpu-check shows what each takes.
// Weights rotate through more memory than the caches hold, and the launches are replayed as a graph, so that the host's
// part does not count.
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include "tests/kernels/op_harness.h"

namespace hadal::kernels {
namespace {

class GemvSpeedTest : public OpTest {
 protected:
  static bool on_gpu() { return std::getenv("HADAL_EMULATED_GPU") == nullptr; }

  // `timed`: cuBLASLt's algorithms are.
  static std::unique_ptr<Backend> WithGemv(const char* value, bool timed) {
    setenv("HADAL_CUDA_GEMV", value, 1);
    std::unique_ptr<Backend> backend = *CreateBackend("cuda", {.timing_limit_us = timed ? int64_t{60000000} : 0});
    unsetenv("HADAL_CUDA_GEMV");
    backend->BeginWarmUp();
    StepLists lists;
    lists.replayed = true;
    EXPECT_EQ(backend->BeginStep(lists), absl::OkStatus());
    return backend;
  }

  // What a product takes in microseconds, and its last results.
  struct Found {
    double us = 0;
    std::vector<double> out;
  };

  static Found Measure(Backend& backend, int64_t m, int64_t n, int64_t k) {
    Arena arena(&backend);
    const TensorView x = arena.Random(DType::kBF16, {m, k}), out = arena.Output(DType::kBF16, {m, n});
    const TensorView seed = arena.Random(DType::kBF16, {n, k}, 0.1f);
    return MeasureProduct(backend, arena, {m, n, k}, seed, out, [&](const void* weights) {
      const WeightView w = WeightView::Plain(TensorView(weights, DType::kBF16, {n, k}));
      return backend.Gemm({.x = x, .w = w, .bias = {}, .out = out});
    });
  }

  // The absorbed query of latent attention.
  static Found MeasureTransposed(Backend& backend, int64_t m, int64_t heads, int64_t n, int64_t k) {
    Arena arena(&backend);
    const TensorView x = arena.Random(DType::kBF16, {m, heads, k}), out = arena.Output(DType::kBF16, {m, heads, n});
    const TensorView seed = arena.Random(DType::kBF16, {heads, k, n}, 0.1f);
    return MeasureProduct(backend, arena, {m, heads, n, k}, seed, out, [&](const void* weights) {
      const WeightView w = WeightView::Plain(TensorView(weights, DType::kBF16, {heads, k, n}));
      return backend.BatchedGemm({.x = x, .w = w, .out = out, .transpose_w = true});
    });
  }

  static Found MeasureProduct(Backend& backend, Arena& arena, const std::vector<int64_t>& key, const TensorView& seed,
                              const TensorView& out, const std::function<absl::Status(const void*)>& product) {
    const int64_t wanted = on_gpu() ? int64_t{256} << 20 : 0;
    const int64_t copies = 1 + wanted / seed.bytes();
    const Buffer weights = *backend.Allocate(copies * seed.bytes());
    const auto weight = [&](int64_t i) { return static_cast<char*>(weights.data()) + i % copies * seed.bytes(); };
    for (int64_t i = 0; i < copies; ++i) EXPECT_EQ(backend.Copy(weight(i), seed.data, seed.bytes()), absl::OkStatus());
    const int64_t products = on_gpu() ? 64 : 2;
    const auto step = [&] {
      return backend.Replay(key, [&] {
        for (int64_t i = 0; i < products; ++i) {
          if (absl::Status s = product(weight(i)); !s.ok()) return s;
        }
        return absl::OkStatus();
      });
    };
    const int warm = 3, runs = on_gpu() ? 5 : 1;  // issued, recorded, replayed
    for (int i = 0; i < warm; ++i) EXPECT_EQ(step(), absl::OkStatus());
    EXPECT_EQ(backend.Synchronize(), absl::OkStatus());
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < runs; ++i) EXPECT_EQ(step(), absl::OkStatus());
    EXPECT_EQ(backend.Synchronize(), absl::OkStatus());
    const std::chrono::duration<double, std::micro> spent = std::chrono::steady_clock::now() - begin;
    return {spent.count() / static_cast<double>(runs * products), arena.Read(out)};
  }

  void Report(const std::string& name, int64_t weights, const Found& own, const Found& cublas, const Found& timed);
};

// All must agree; `weights` elements were read.
void GemvSpeedTest::Report(const std::string& name, int64_t weights, const Found& own, const Found& cublas,
                           const Found& timed) {
  for (const Found* other : {&cublas, &timed}) {
    ASSERT_EQ(own.out.size(), other->out.size());
    for (size_t i = 0; i < own.out.size(); ++i) {
      ASSERT_NEAR(own.out[i], other->out[i], 0.05 + 0.02 * std::fabs(other->out[i])) << name;
    }
  }
  const double gigabytes = static_cast<double>(weights * 2) * 1e-9;
  const auto text = [&](const Found& found) {
    return absl::StrFormat("%.2f us (%.0f GB/s)", found.us, gigabytes / found.us * 1e6);
  };
  RecordProperty(name, absl::StrCat("own ", text(own), ", cublas ", text(cublas), ", timed ", text(timed)));
}

std::vector<Variant> Cuda() { return {{"cuda", "cuda", {}}}; }
INSTANTIATE_TEST_SUITE_P(Backends, GemvSpeedTest, ::testing::ValuesIn(Cuda()), VariantName);

// Projections of R1-Distill-Qwen-7B, its head, and those of DeepSeek-V2-Lite, [n, k].
TEST_P(GemvSpeedTest, AgainstCublas) {
  const std::unique_ptr<Backend> own = WithGemv("on", false), cublas = WithGemv("off", false),
                                 timed = WithGemv("off", true);
  for (const auto& [n, k] : std::vector<std::array<int64_t, 2>>{{4608, 3584},
                                                                {3584, 3584},
                                                                {37888, 3584},
                                                                {3584, 18944},
                                                                {152064, 3584},
                                                                {576, 2048},
                                                                {64, 2048},
                                                                {2048, 2816}}) {
    for (const int64_t m : {1, 2, 4, 8}) {
      if (!on_gpu() && (m > 2 || n * k > (int64_t{1} << 21))) continue;
      Report(absl::StrFormat("m%d_n%d_k%d", m, n, k), n * k, Measure(*own, m, n, k), Measure(*cublas, m, n, k),
             Measure(*timed, m, n, k));
    }
  }
}

// The absorbed query of DeepSeek-V2-Lite and of V3.
TEST_P(GemvSpeedTest, TransposedAgainstCublas) {
  const std::unique_ptr<Backend> own = WithGemv("on", false), cublas = WithGemv("off", false),
                                 timed = WithGemv("off", true);
  constexpr int64_t kN = 512, kK = 128;
  for (const int64_t heads : on_gpu() ? std::vector<int64_t>{16, 128} : std::vector<int64_t>{1}) {
    for (const int64_t m : {1, 2, 4, 8}) {
      if (!on_gpu() && m > 2) continue;
      Report(absl::StrFormat("transposed_m%d_heads%d", m, heads), heads * kN * kK,
             MeasureTransposed(*own, m, heads, kN, kK), MeasureTransposed(*cublas, m, heads, kN, kK),
             MeasureTransposed(*timed, m, heads, kN, kK));
    }
  }
}

}  // namespace
}  // namespace hadal::kernels
