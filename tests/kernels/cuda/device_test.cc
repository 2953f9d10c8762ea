// SPDX-License-Identifier: Apache-2.0
//
// The CUDA backend's memory and copies, and kernels that no op test reaches without FlashInfer; on the emulated device.
#include <cstdlib>
#include <numeric>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "kernels/cuda/flashinfer.h"

namespace hadal::kernels {
namespace {

using ::testing::HasSubstr;

TEST(CudaDeviceTest, SaysWhatItIs) {
  auto backend = *CreateBackend("cuda", {});
  EXPECT_EQ(backend->name(), "cuda");
  EXPECT_FALSE(backend->host_accessible());
  EXPECT_EQ(backend->description(), "cuda:0, emulated GPU, compute capability 9.0");
}

TEST(CudaDeviceTest, RefusesADeviceThatIsNotThere) {
  const absl::Status status = CreateBackend("cuda", {.device_index = 1}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("found 1"));
  EXPECT_EQ(CreateBackend("cuda", {.device_index = -1}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CudaDeviceTest, CountsBuffersAgainstTheBudget) {
  auto backend = *CreateBackend("cuda", {.memory_budget_bytes = 1000});
  Buffer first = *backend->Allocate(600);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first.data()) % 64, 0u);
  EXPECT_EQ(backend->Memory()->total_bytes, 1000);
  EXPECT_EQ(backend->Memory()->used_bytes, 600);
  const absl::Status full = backend->Allocate(401).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(full.message(), "allocate: 401 bytes asked for, 400 of 1000 left");
  first.Reset();
  EXPECT_EQ(backend->Memory()->used_bytes, 0);
  EXPECT_EQ(backend->Allocate(0)->bytes(), 0);
  EXPECT_EQ(backend->Allocate(-1).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CudaDeviceTest, UploadsMoreThanTheStagingRingHolds) {
  auto backend = *CreateBackend("cuda", {});
  std::vector<uint32_t> source((int64_t{50} << 20) / sizeof(uint32_t) + 3), back(source.size());
  std::iota(source.begin(), source.end(), 7u);
  const int64_t bytes = static_cast<int64_t>(source.size() * sizeof(uint32_t));
  Buffer buffer = *backend->Allocate(bytes);
  ASSERT_EQ(backend->Upload(buffer.data(), source.data(), bytes), absl::OkStatus());
  ASSERT_EQ(backend->Download(back.data(), buffer.data(), bytes), absl::OkStatus());
  EXPECT_TRUE(source == back);
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(backend->Upload(buffer.data(), &source[i], 4), absl::OkStatus());
  ASSERT_EQ(backend->Download(back.data(), buffer.data(), 4), absl::OkStatus());
  EXPECT_EQ(back[0], source[4999]);
  EXPECT_EQ(backend->Synchronize(), absl::OkStatus());
}

TEST(CudaDeviceTest, ShapesBeyondSharedMemoryAreRefusedWithTheLimit) {
  auto backend = *CreateBackend("cuda", {});
  constexpr int64_t kDim = 60000;
  Buffer memory = *backend->Allocate(kDim * 4 * 4);
  const int32_t starts[] = {0, 1}, contexts[] = {1};
  Buffer lists = *backend->Allocate(64);
  ASSERT_EQ(backend->Upload(lists.data(), starts, sizeof(starts)), absl::OkStatus());
  const TensorView heads(memory.data(), DType::kF32, {1, 1, kDim}), cache(memory.data(), DType::kF32, {1, 1, 1, kDim});
  RaggedBatch batch;
  batch.query_start = TensorView(lists.data(), DType::kI32, {2});
  batch.context_lens = TensorView(lists.data(), DType::kI32, {1});
  batch.block_tables = TensorView(lists.data(), DType::kI32, {1, 1});
  batch.host_query_start = starts;
  batch.host_context_lens = contexts;
  const absl::Status status =
      backend->PagedAttention({.q = heads, .k_cache = cache, .v_cache = cache, .out = heads, .batch = batch});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("at most 232448 bytes of shared memory"));
  EXPECT_EQ(backend->Synchronize(), absl::OkStatus());
}

// libtorch sees no emulated device: the point is that the variable is read, and named where it fails.
TEST(CudaDeviceTest, NamesTheVariableWhenTorchCannotTakeItsOps) {
  ASSERT_EQ(setenv("HADAL_CUDA_TORCH_OPS", "gemm", 1), 0);
  const absl::Status status = CreateBackend("cuda", {}).status();
  ASSERT_EQ(unsetenv("HADAL_CUDA_TORCH_OPS"), 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("HADAL_CUDA_TORCH_OPS: torch: "));
}

TEST(BuildPageIndicesTest, FlattensTheTablesOfSequencesWithPages) {
  const int32_t table[] = {7, 8, 9, 1, 2, 3, 4, 5, 6};  // three sequences, three columns
  const int32_t first_page[] = {0, 2, 2, 5};            // the second has none
  int32_t pages[6] = {-1, -1, -1, -1, -1, -1};
  ASSERT_EQ(cuda::LaunchBuildPageIndices(nullptr, table, 3, first_page, 3, 5, pages), 0);
  EXPECT_THAT(pages, ::testing::ElementsAre(7, 8, 4, 5, 6, -1));
}

}  // namespace
}  // namespace hadal::kernels
