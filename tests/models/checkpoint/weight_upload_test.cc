// SPDX-License-Identifier: Apache-2.0
//
// Weights on their way to the emulated device: what is stored is converted into the ring of pinned memory that the
// device copies from, and lies nowhere else on the host.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/half.h"
#include "models/checkpoint/weight_chunks.h"
#include "models/checkpoint/weight_loader.h"
#include "tests/kernels/cuda/emulator/control.h"
#include "tests/models/checkpoint/checkpoint_builder.h"

namespace {

// Bytes taken from the heap in large pieces, by any thread. The emulated device's own memory is not among them.
std::atomic<int64_t> large_bytes{0};
constexpr size_t kLarge = size_t{64} << 10;

}  // namespace

void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  if (bytes >= kLarge) large_bytes += static_cast<int64_t>(bytes);
  return std::malloc(bytes);
}
void* operator new(size_t bytes) {
  void* data = operator new(bytes, std::nothrow);
  if (data == nullptr) throw std::bad_alloc();
  return data;
}
void operator delete(void* data) noexcept { std::free(data); }
void operator delete(void* data, size_t) noexcept { std::free(data); }

namespace hadal::checkpoint {
namespace {

using kernels::BF16;
using kernels::DType;
using kernels::cuda_emulator::TheDevice;

constexpr int64_t kRows = 4096, kColumns = 3072, kVocab = 60000, kExperts = 8;

class WeightUploadTest : public ::testing::Test {
 protected:
  WeightUploadTest() : values_(RandomValues(static_cast<size_t>(kRows * kColumns), 3)) {
    SafetensorsBuilder builder;
    builder.AddF32("f32", {kRows, kColumns}, values_);
    builder.AddBF16("bf16", {kRows, kColumns}, values_);
    std::string codes(static_cast<size_t>(kRows * kColumns), '\0');
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<char>(i * 7 % 0x7F);
    builder.AddRaw("fp8.weight", "F8_E4M3", {kRows, kColumns}, codes);
    builder.AddF32("fp8.weight_scale_inv", {kRows / 128, kColumns / 128},
                   std::vector<float>(kRows / 128 * kColumns / 128, 0.5f));
    std::string table(static_cast<size_t>(kVocab * 6 * 8), '\0');
    for (size_t i = 0; i < table.size(); i += 8) table[i] = static_cast<char>(i / 8 % kExperts);
    builder.AddRaw("tid2eid", "I64", {kVocab, 6}, table);
    dir_.Write("model.safetensors", builder.Bytes());
  }
  ~WeightUploadTest() override {
    loader_.reset();
    backend_.reset();
    TheDevice() = {};
  }

  // A loader on the device, whose ring alone is pinned.
  void Open() {
    backend_ = *kernels::CreateBackend("cuda", {});
    ring_bytes_ = TheDevice().pinned_bytes;
    config::ModelConfig config;
    config.fp8 = config::Fp8Config{};
    WeightLoader::Options options;
    options.threads = 4;
    loader_ = *WeightLoader::Create(*WeightStore::Open(dir_.path()), config, backend_.get(), options);
    large_bytes = 0;
  }

  // Loads the values of `name` in each of the ways in which they can be laid out.
  std::vector<LoadedTensor> LoadAll() {
    std::vector<LoadedTensor> tensors;
    for (const char* name : {"f32", "bf16", "fp8.weight"}) {
      tensors.push_back(*loader_->Load(name));
      tensors.push_back(*loader_->LoadHeadsTransposed(name, 16, 256, 0, 128));
    }
    tensors.push_back(*loader_->LoadExpertTable("tid2eid", kExperts));
    return tensors;
  }

  // The device's memory is the host's in the emulator.
  float At(const LoadedTensor& tensor, int64_t index) {
    return kernels::ToFloat(tensor.view().as<const BF16>()[index]);
  }

  TempDir dir_;
  std::vector<float> values_;
  std::unique_ptr<kernels::Backend> backend_;
  std::unique_ptr<WeightLoader> loader_;
  int64_t ring_bytes_ = 0;
};

TEST_F(WeightUploadTest, WhatIsConvertedLiesInTheRingAlone) {
  Open();
  const std::vector<LoadedTensor> tensors = LoadAll();
  EXPECT_EQ(large_bytes, 0);
  EXPECT_EQ(TheDevice().pinned_bytes, ring_bytes_);
  EXPECT_EQ(TheDevice().pageable_copies, 0);
  int64_t bytes = 0;
  for (const LoadedTensor& tensor : tensors) bytes += tensor.view().bytes();
  EXPECT_EQ(TheDevice().upload_bytes, bytes);  // each value goes up once
  EXPECT_EQ(TheDevice().syncs, 0);             // and nobody waits for a copy while the ring has room
  EXPECT_EQ(backend_->Synchronize(), absl::OkStatus());
  for (int64_t i = 0; i < kRows * kColumns; i += 997) {
    const float expected = kernels::ToFloat(kernels::ToBF16(values_[static_cast<size_t>(i)]));
    ASSERT_EQ(At(tensors[0], i), expected);
    ASSERT_EQ(At(tensors[2], i), expected);
    ASSERT_EQ(At(tensors[4], i), kernels::F8E4M3ToFloat(static_cast<uint8_t>(i * 7 % 0x7F)) * 0.5f);
    // [heads, columns, 128]: row i / kColumns is the head's first_row 0 or, from 128 on, left out.
    const int64_t row = i / kColumns, column = i % kColumns, head = row / 256;
    if (row % 256 >= 128) continue;
    const int64_t transposed = (head * kColumns + column) * 128 + row % 256;
    ASSERT_EQ(At(tensors[1], transposed), expected);
    ASSERT_EQ(At(tensors[3], transposed), expected);
    ASSERT_EQ(At(tensors[5], transposed), At(tensors[4], i));
  }
  for (int64_t i = 0; i < kVocab * 6; ++i) ASSERT_EQ(tensors[6].view().as<const int32_t>()[i], i % kExperts);
}

TEST_F(WeightUploadTest, ASlowDeviceHoldsTheThreadsUpAndNoMemory) {
  Open();
  TheDevice().slow_copies = true;
  const std::vector<LoadedTensor> tensors = LoadAll();
  EXPECT_EQ(large_bytes, 0);
  EXPECT_EQ(TheDevice().pinned_bytes, ring_bytes_);
  EXPECT_GT(TheDevice().waits, 0);
  // The ring holds as many chunks again as there are threads to fill them.
  EXPECT_GE(ring_bytes_, 2 * 8 * kChunkBytes);
  EXPECT_EQ(At(tensors[0], 5), kernels::ToFloat(kernels::ToBF16(values_[5])));
}

TEST_F(WeightUploadTest, ABadTableSpoilsNoCopy) {
  Open();
  EXPECT_EQ(loader_->LoadExpertTable("tid2eid", kExperts - 1).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(backend_->Synchronize(), absl::OkStatus());
  EXPECT_TRUE(loader_->Load("f32").ok());
}

}  // namespace
}  // namespace hadal::checkpoint
