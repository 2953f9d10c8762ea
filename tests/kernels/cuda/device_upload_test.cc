// SPDX-License-Identifier: Apache-2.0
//
// The ring of pinned memory that uploads go through, filled by one thread or several; on the emulated device.
#include <cstdint>
#include <numeric>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "kernels/cuda/cuda_device.h"
#include "tests/kernels/cuda/emulator/control.h"

namespace hadal::kernels {
namespace {

using cuda_emulator::TheDevice;

class CudaUploadTest : public ::testing::Test {
 protected:
  ~CudaUploadTest() override { TheDevice() = {}; }
};

TEST_F(CudaUploadTest, UploadsMoreThanTheStagingRingHolds) {
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

// As weights are brought: nobody waits for another thread's memcpy, but for room in the ring.
TEST_F(CudaUploadTest, ThreadsUploadSideBySide) {
  auto backend = *CreateBackend("cuda", {});
  auto& device = dynamic_cast<cuda::CudaDevice&>(*backend);
  const int64_t count = int64_t{5} << 20;
  std::vector<int32_t> values(count), back(count);
  std::iota(values.begin(), values.end(), 3);
  const int64_t bytes = count * int64_t{sizeof(int32_t)};
  Buffer buffer = *backend->Allocate(8 * bytes);
  const auto part = [&](int i) { return static_cast<char*>(buffer.data()) + i * bytes; };
  TheDevice().slow_copies = true;
  ASSERT_EQ(device.StageWith(64,
                             [&](char*) {
                               std::thread other([&] {
                                 EXPECT_EQ(backend->Upload(part(0), values.data(), bytes), absl::OkStatus());
                               });
                               other.join();  // while this region is being filled
                               return absl::OkStatus();
                             }),
            absl::OkStatus());
  std::vector<std::thread> threads;
  for (int i = 1; i < 8; ++i) {
    threads.emplace_back([&, i] { EXPECT_EQ(backend->Upload(part(i), values.data(), bytes), absl::OkStatus()); });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < 8; ++i) {
    ASSERT_EQ(backend->Download(back.data(), part(i), bytes), absl::OkStatus());
    EXPECT_TRUE(back == values) << i;
  }
  EXPECT_EQ(backend->Synchronize(), absl::OkStatus());
}

TEST_F(CudaUploadTest, AFailedFillGivesItsRegionBack) {
  auto backend = *CreateBackend("cuda", {});
  auto& device = dynamic_cast<cuda::CudaDevice&>(*backend);
  for (int i = 0; i < 10; ++i) {  // of a ring of 32 MiB
    const auto fail = [](char*) { return absl::DataLossError("torn"); };
    EXPECT_EQ(device.StageWith(int64_t{20} << 20, fail), absl::DataLossError("torn"));
  }
}

TEST_F(CudaUploadTest, StagingIsRecycledAsCopiesFinish) {
  auto backend = *CreateBackend("cuda", {});
  Buffer buffer = *backend->Allocate(64);
  const int32_t value = 7;
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(backend->Upload(buffer.data(), &value, 4), absl::OkStatus());
  EXPECT_EQ(TheDevice().events, 1);  // each copy was done when the next one came
  EXPECT_EQ(TheDevice().waits, 0);
  TheDevice().slow_copies = true;
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(backend->Upload(buffer.data(), &value, 4), absl::OkStatus());
  EXPECT_GE(TheDevice().events, 999);
  EXPECT_EQ(TheDevice().waits, 0);  // there is room: nobody waits, and a copy under way fails no launch
  const TensorView rows(buffer.data(), DType::kF32, {1, 4}), out(buffer.data(), DType::kF32, {1, 4});
  EXPECT_EQ(backend->Cast({.in = rows, .out = out}), absl::OkStatus());
}

}  // namespace
}  // namespace hadal::kernels
