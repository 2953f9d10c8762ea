// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/weight_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "kernels/half.h"
#include "models/checkpoint/decode.h"
#include "models/checkpoint/weight_chunks.h"
#include "tests/models/checkpoint/weight_loader_fixture.h"
#include "tests/models/config/config_texts.h"
#include "tests/models/outline.h"

namespace hadal::checkpoint {
namespace {

using kernels::DType;
using models::testing::ExpectedTensors;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_F(WeightLoaderTest, UsesTensorsInPlaceWhenTheyFit) {
  builder_.AddBF16("w", {3, 4}, RandomValues(12, 1));
  Open(DType::kBF16);
  const LoadedTensor tensor = Must(loader_->Load("w"));
  EXPECT_TRUE(tensor.zero_copy);
  EXPECT_EQ(Shape(tensor), (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(tensor.view().data, static_cast<const void*>(loader_->store().Get("w")->entry->bytes.data()));
  EXPECT_EQ(host_.used_bytes(), 0);
  EXPECT_EQ(loader_->zero_copy_bytes(), 24);
}

TEST_F(WeightLoaderTest, KeepsTheMappingAlive) {
  builder_.AddF32("w", {2}, {3, 4});
  Open(DType::kF32);
  const LoadedTensor tensor = Must(loader_->Load("w"));
  loader_.reset();
  EXPECT_EQ(Floats(tensor), (std::vector<float>{3, 4}));
}

TEST_F(WeightLoaderTest, CopiesWhenMisaligned) {
  builder_.AddRaw("pad", "U8", {1}, "x");
  builder_.AddBF16("w", {5}, {1, 2, 3, 4, 5});
  builder_.AddF32("v", {2}, {6, 7});
  Open(DType::kBF16);
  const LoadedTensor tensor = Must(loader_->Load("w"));
  EXPECT_FALSE(tensor.zero_copy);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.view().data) % 64, 0u);
  EXPECT_EQ(Floats(tensor), (std::vector<float>{1, 2, 3, 4, 5}));
  EXPECT_EQ(Floats(Must(loader_->Load("v", DType::kF32))), (std::vector<float>{6, 7}));
}

TEST_F(WeightLoaderTest, CopiesWhenAskedTo) {
  builder_.AddBF16("w", {2}, {1, 2});
  WeightLoader::Options options;
  options.allow_zero_copy = false;
  Open(DType::kBF16, options);
  EXPECT_FALSE(Must(loader_->Load("w")).zero_copy);
  options.allow_zero_copy = true;
  options.zero_copy_alignment_bytes = 8192;
  Use(loader_->store(), DType::kBF16, options);
  EXPECT_FALSE(Must(loader_->Load("w")).zero_copy);
}

TEST_F(WeightLoaderTest, ReturnsBuffersToTheBackend) {
  builder_.AddF32("w", {4}, {1, 2, 3, 4});
  Open(DType::kBF16);
  {
    const LoadedTensor tensor = Must(loader_->Load("w"));
    EXPECT_EQ(host_.used_bytes(), 8);
    EXPECT_EQ(loader_->buffer_bytes(), 8);
  }
  EXPECT_EQ(host_.used_bytes(), 0);
}

TEST_F(WeightLoaderTest, UploadsToADevice) {
  builder_.AddBF16("w", {2, 2}, {1, 2, 3, 4});
  backend_ = &device_;
  Open(DType::kBF16);
  const LoadedTensor tensor = Must(loader_->Load("w"));
  EXPECT_FALSE(tensor.zero_copy);
  EXPECT_EQ(device_.fills, 1);
  EXPECT_EQ(device_.uploads, 0);
  EXPECT_EQ(Floats(tensor), (std::vector<float>{1, 2, 3, 4}));
}

TEST_F(WeightLoaderTest, ReportsWhatTheBackendRefuses) {
  builder_.AddF32("w", {4}, {1, 2, 3, 4});
  HostBackend small(true, /*budget_bytes=*/4);
  backend_ = &small;
  Open(DType::kBF16);
  const absl::Status status = loader_->Load("w").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("tensor \"w\""));
  loader_.reset();
}

TEST_F(WeightLoaderTest, RoundsOnceToNearestEven) {
  const float tie_down = 1.0f + 0x1p-8f;          // between 1 and 1 + 2^-7: even is 1
  const float tie_up = 1.0f + 0x1p-7f + 0x1p-8f;  // even is 1 + 2^-6
  const float above = 1.0f + 0x1p-8f + 0x1p-20f;
  builder_.AddF32("w", {4}, {tie_down, tie_up, above, -tie_up});
  Open(DType::kBF16);
  EXPECT_EQ(Floats(Must(loader_->Load("w"))),
            (std::vector<float>{1.0f, 1.0f + 0x1p-6f, 1.0f + 0x1p-7f, -1.0f - 0x1p-6f}));
  EXPECT_EQ(Floats(Must(loader_->Load("w", DType::kF16))),
            (std::vector<float>{tie_down, tie_up, 1.0f + 0x1p-8f, -tie_up}));
}

TEST_F(WeightLoaderTest, ConvertsBetweenAllPairsExactly) {
  const std::vector<float> values = {0.0f, -0.0f, 1.0f, -2.5f, 0x1p-14f, 448.0f, 3.0f};
  builder_.AddF32("f32", {7}, values);
  builder_.AddBF16("bf16", {7}, values);
  builder_.AddF16("f16", {7}, values);
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    Open(dtype);
    for (const char* name : {"f32", "bf16", "f16"}) EXPECT_EQ(Floats(Must(loader_->Load(name))), values) << name;
  }
}

TEST_F(WeightLoaderTest, RefusesFiniteValuesBeyondF16) {
  const float infinity = std::numeric_limits<float>::infinity();
  builder_.AddBF16("w", {2, 2}, {1, infinity, -70144.0f, 2});
  builder_.AddBF16("ok", {3}, {65280.0f, -infinity, std::nanf("")});
  Open(DType::kF16);
  EXPECT_THAT(loader_->Load("w").status().message(),
              AllOf(HasSubstr("tensor \"w\": expected values within +-65504 for float16, found -70144"),
                    HasSubstr("row 1, column 0")));
  const std::vector<float> kept = Floats(Must(loader_->Load("ok")));
  EXPECT_EQ(kept[0], 65280.0f);
  EXPECT_EQ(kept[1], -infinity);
  EXPECT_TRUE(std::isnan(kept[2]));
}

TEST_F(WeightLoaderTest, StacksAndPermutesRows) {
  builder_.AddF32("q", {2, 2}, {1, 2, 3, 4});
  builder_.AddF32("gap", {1}, {0});
  builder_.AddF32("k", {1, 2}, {5, 6});
  builder_.AddF32("qb", {2}, {7, 8});
  builder_.AddF32("kb", {1}, {9});
  Open(DType::kBF16);
  const LoadedTensor stacked = Must(loader_->LoadStacked({"q", "k"}));
  EXPECT_EQ(Shape(stacked), (std::vector<int64_t>{3, 2}));
  EXPECT_EQ(Floats(stacked), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  const LoadedTensor bias = Must(loader_->LoadStacked({"qb", "kb"}));
  EXPECT_EQ(Shape(bias), (std::vector<int64_t>{3}));
  EXPECT_EQ(Floats(bias), (std::vector<float>{7, 8, 9}));
  EXPECT_EQ(Floats(Must(loader_->LoadRows({{"q", 1, 1}, {"k"}, {"q", 0, 1}}))), (std::vector<float>{3, 4, 5, 6, 1, 2}));
  EXPECT_THAT(loader_->LoadRows({{"q", 1, 2}}).status().message(),
              HasSubstr("expected rows within [0, 2), found 2 from 1"));
  EXPECT_THAT(loader_->LoadStacked({"q", "qb"}).status().message(), HasSubstr("expected 2 columns"));
  EXPECT_FALSE(loader_->LoadRows({}).ok());
  EXPECT_FALSE(loader_->Load("none").ok());
}

TEST_F(WeightLoaderTest, JoinsNeighboursInPlace) {
  builder_.AddF32("gate", {2, 2}, {1, 2, 3, 4});
  builder_.AddF32("up", {1, 2}, {5, 6});
  Open(DType::kF32);
  const LoadedTensor joined = Must(loader_->LoadStacked({"gate", "up"}));
  EXPECT_TRUE(joined.zero_copy);
  EXPECT_EQ(Floats(joined), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_FALSE(Must(loader_->LoadStacked({"up", "gate"})).zero_copy);
}

TEST_F(WeightLoaderTest, GroupsExperts) {
  builder_.AddF32("g0", {1, 2}, {1, 2});
  builder_.AddF32("u0", {1, 2}, {3, 4});
  builder_.AddF32("u1", {1, 2}, {7, 8});
  builder_.AddF32("g1", {1, 2}, {5, 6});
  Open(DType::kBF16);
  const LoadedTensor groups = Must(loader_->LoadGroups({{{"g0"}, {"u0"}}, {{"g1"}, {"u1"}}}));
  EXPECT_EQ(Shape(groups), (std::vector<int64_t>{2, 2, 2}));
  EXPECT_EQ(Floats(groups), (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_THAT(loader_->LoadGroups({{{"g0"}}, {{"g1"}, {"u1"}}}).status().message(),
              HasSubstr("groups of 1 rows, found 2"));
}

TEST_F(WeightLoaderTest, SplitsHeads) {
  // Two heads of one key row and two value rows, rank 2.
  builder_.AddF32("kv_b", {6, 2}, {1, 2, 10, 20, 30, 40, 3, 4, 50, 60, 70, 80});
  for (kernels::Backend* backend : {static_cast<kernels::Backend*>(&host_), static_cast<kernels::Backend*>(&device_)}) {
    backend_ = backend;
    Open(DType::kBF16);
    const LoadedTensor values = Must(loader_->LoadHeads("kv_b", 2, 3, 1, 2));
    EXPECT_EQ(Shape(values), (std::vector<int64_t>{2, 2, 2}));
    EXPECT_EQ(Floats(values), (std::vector<float>{10, 20, 30, 40, 50, 60, 70, 80}));
    const LoadedTensor transposed = Must(loader_->LoadHeadsTransposed("kv_b", 2, 3, 1, 2));
    EXPECT_EQ(Shape(transposed), (std::vector<int64_t>{2, 2, 2}));
    EXPECT_EQ(Floats(transposed), (std::vector<float>{10, 30, 20, 40, 50, 70, 60, 80}));
    EXPECT_EQ(Floats(Must(loader_->LoadHeadsTransposed("kv_b", 2, 3, 0, 1))), (std::vector<float>{1, 2, 3, 4}));
    EXPECT_FALSE(loader_->LoadHeads("kv_b", 2, 3, 2, 2).ok());
    EXPECT_FALSE(loader_->LoadHeads("kv_b", 3, 3, 0, 1).ok());
  }
}

TEST_F(WeightLoaderTest, ConvertsLargeTensorsOnSeveralThreads) {
  const std::vector<float> values = RandomValues(3'000'000, 5);
  builder_.AddF32("w", {3000, 1000}, values);
  WeightLoader::Options options;
  options.threads = 4;
  for (kernels::Backend* backend : {static_cast<kernels::Backend*>(&host_), static_cast<kernels::Backend*>(&device_)}) {
    backend_ = backend;
    Open(DType::kBF16, options);
    // Twice stacked: 12 MB, above the size from which threads are used.
    const LoadedTensor tensor = Must(loader_->LoadStacked({"w", "w"}));
    ASSERT_EQ(tensor.view().numel(), 6'000'000);
    int64_t wrong = 0;
    for (size_t i = 0; i < 6'000'000; ++i) {
      wrong += tensor.view().as<kernels::BF16>()[i].bits != kernels::ToBF16(values[i % 3'000'000]).bits;
    }
    EXPECT_EQ(wrong, 0);
  }
  // All of it was written where a device copies from, a chunk a thread at a time.
  EXPECT_EQ(device_.uploads, 0);
  EXPECT_GE(device_.fills, 6);
  EXPECT_LE(device_.most_staged_bytes, 4 * kChunkBytes);
}

TEST_F(WeightLoaderTest, CutsRowsThatAreLargerThanAChunk) {
  const int64_t columns = kChunkBytes / 2 + 3;
  const std::vector<float> values = RandomValues(static_cast<size_t>(3 * columns), 6);
  builder_.AddF32("w", {3, columns}, values);
  builder_.AddF32("beyond", {1, columns}, std::vector<float>(static_cast<size_t>(columns), 1e5f));
  backend_ = &device_;
  Open(DType::kBF16);
  const LoadedTensor tensor = Must(loader_->LoadRows({{"w", 1, 2}, {"w", 0, 1}}));
  EXPECT_EQ(device_.fills, 6);
  EXPECT_LE(device_.most_staged_bytes, 2 * kChunkBytes);
  std::vector<float> expected(values.begin() + columns, values.end());
  expected.insert(expected.end(), values.begin(), values.begin() + columns);
  for (float& value : expected) value = kernels::ToFloat(kernels::ToBF16(value));
  EXPECT_TRUE(Floats(tensor) == expected);
  EXPECT_THAT(loader_->Load("beyond", DType::kF16).status().message(), HasSubstr("found 100000 at row 0, column "));
}

TEST_F(WeightLoaderTest, LoadsFromSeveralThreadsAndReportsProgress) {
  for (int i = 0; i < 8; ++i) builder_.AddF32(absl::StrCat("w", i), {1000}, RandomValues(1000, 3));
  std::vector<int64_t> reported;
  WeightLoader::Options options;
  options.progress = [&](LoadProgress progress) {
    EXPECT_EQ(progress.stage, LoadStage::kLoad);
    EXPECT_EQ(progress.bytes_total, 32000);
    reported.push_back(progress.bytes_done);
  };
  options.progress_total_bytes = 32000;
  Open(DType::kBF16, options);
  std::vector<std::thread> threads;
  std::vector<LoadedTensor> tensors(8);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t; i < 8; i += 4) tensors[static_cast<size_t>(i)] = Must(loader_->Load(absl::StrCat("w", i)));
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_EQ(reported.size(), 8u);
  EXPECT_TRUE(std::is_sorted(reported.begin(), reported.end()));
  EXPECT_EQ(reported.back(), 32000);
  for (const LoadedTensor& tensor : tensors) EXPECT_EQ(Floats(tensor), Floats(tensors[0]));
}

TEST_F(WeightLoaderTest, MakesDummyWeights) {
  auto config = config::ParseModelConfig(config::kTinyLlamaConfig);
  ASSERT_TRUE(config.ok());
  config_ = *config;
  const std::vector<TensorSpec> specs = ExpectedTensors(config_);
  Use(WeightStore::Dummy(specs, 42), DType::kBF16);
  auto report = CheckTensors(loader_->store(), config_, specs);
  ASSERT_TRUE(report.ok()) << report.status();
  const LoadedTensor embed = Must(loader_->Load("model.embed_tokens.weight"));
  EXPECT_EQ(Shape(embed), (std::vector<int64_t>{11, 8}));
  float largest = 0, sum = 0;
  for (float value : Floats(embed)) {
    largest = std::max(largest, std::fabs(value));
    sum += std::fabs(value);
  }
  EXPECT_LT(largest, 0.036f);
  EXPECT_GT(sum / 88, 0.01f);
  for (float value : Floats(Must(loader_->Load("model.norm.weight")))) EXPECT_NEAR(value, 1.0f, 0.04f);
  // The same seed gives the same values, also row by row; another name or seed gives others.
  const std::vector<float> all = Floats(embed);
  EXPECT_EQ(Floats(Must(loader_->LoadRows({{"model.embed_tokens.weight", 3, 2}}))),
            std::vector<float>(all.begin() + 24, all.begin() + 40));
  EXPECT_NE(Floats(Must(loader_->Load("lm_head.weight"))), Floats(embed));
  Use(WeightStore::Dummy(specs, 43), DType::kBF16);
  EXPECT_NE(Floats(Must(loader_->Load("model.embed_tokens.weight"))), Floats(embed));
}

TEST_F(WeightLoaderTest, RefusesOtherComputeTypes) {
  WeightLoader::Options options;
  options.compute_dtype = DType::kI32;
  EXPECT_FALSE(WeightLoader::Create(WeightStore::Dummy({}, 1), config_, &host_, options).ok());
  EXPECT_FALSE(WeightLoader::Create(WeightStore::Dummy({}, 1), config_, nullptr, {}).ok());
  builder_.AddF32("w", {1}, {1});
  builder_.AddF32("deep", {1, 1, 1, 1, 1}, {1});
  Open(DType::kF32);
  EXPECT_FALSE(loader_->Load("w", DType::kU8).ok());
  EXPECT_THAT(loader_->Load("deep").status().message(), HasSubstr("at most 4 dimensions, found 5"));
}

TEST(TransposeTest, CoversOddSizes) {
  std::vector<uint16_t> in(37 * 65), out(in.size());
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<uint16_t>(i);
  Transpose(in.data(), 37, 65, 2, out.data(), 37);
  for (size_t r = 0; r < 37; ++r) {
    for (size_t c = 0; c < 65; ++c) ASSERT_EQ(out[c * 37 + r], in[r * 65 + c]);
  }
}

}  // namespace
}  // namespace hadal::checkpoint
