// SPDX-License-Identifier: Apache-2.0
//
// The kernel for few rows against cuBLASLt, with its first algorithm and with the one that was the quickest, at the
// shapes of decode steps: all must agree, and on a GPU the result page of scripts/gpu-check shows what each takes.
// Weights rotate through more memory than the caches hold, and the launches are replayed as a graph, so that the host's
// part does not count.
#include <chrono>
#include <cstdlib>
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
    const int64_t wanted = on_gpu() ? int64_t{256} << 20 : 0;
    const int64_t copies = 1 + wanted / seed.bytes();
    const Buffer weights = *backend.Allocate(copies * seed.bytes());
    const auto weight = [&](int64_t i) {
      return TensorView(static_cast<char*>(weights.data()) + i % copies * seed.bytes(), DType::kBF16, {n, k});
    };
    for (int64_t i = 0; i < copies; ++i)
      EXPECT_EQ(backend.Copy(weight(i).data, seed.data, seed.bytes()), absl::OkStatus());
    const int64_t products = on_gpu() ? 64 : 2;
    const int64_t key[] = {m, n, k};
    const auto step = [&] {
      return backend.Replay(key, [&] {
        for (int64_t i = 0; i < products; ++i) {
          const GemmParams gemm{.x = x, .w = WeightView::Plain(weight(i)), .bias = {}, .out = out};
          if (absl::Status s = backend.Gemm(gemm); !s.ok()) return s;
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
};

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
      const Found ours = Measure(*own, m, n, k), theirs = Measure(*cublas, m, n, k), best = Measure(*timed, m, n, k);
      for (const Found* other : {&theirs, &best}) {
        ASSERT_EQ(ours.out.size(), other->out.size());
        for (size_t i = 0; i < ours.out.size(); ++i) {
          ASSERT_NEAR(ours.out[i], other->out[i], 0.05 + 0.02 * std::fabs(other->out[i])) << m << "x" << n << "x" << k;
        }
      }
      const double gigabytes = static_cast<double>(n * k * 2) * 1e-9;
      RecordProperty(absl::StrFormat("m%d_n%d_k%d", m, n, k),
                     absl::StrFormat("own %.2f us (%.0f GB/s), cublas %.2f us (%.0f GB/s), timed %.2f us (%.0f GB/s)",
                                     ours.us, gigabytes / ours.us * 1e6, theirs.us, gigabytes / theirs.us * 1e6,
                                     best.us, gigabytes / best.us * 1e6));
    }
  }
}

}  // namespace
}  // namespace hadal::kernels
