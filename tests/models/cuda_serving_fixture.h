// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "models/registry.h"
#include "tests/kernels/cuda/emulator/control.h"
#include "tests/models/step_builder.h"

namespace hadal::models::testing {

// Models on the emulated device as the server loads and runs them.
class CudaServingTest : public ::testing::Test {
 protected:
  static constexpr KvCacheSize kCache = {24, 16};

  CudaServingTest()
      : dir_(std::filesystem::temp_directory_path() / ("hadal_cuda_serving_" + std::to_string(getpid()))) {
    std::filesystem::create_directories(dir_);
  }
  ~CudaServingTest() override {
    kernels::cuda_emulator::TheDevice() = {};
    std::filesystem::remove_all(dir_);
  }

  LoadOptions Options(const std::string& config) {
    std::ofstream(dir_ / "config.json") << config;
    LoadOptions options;
    options.dir = dir_.string();
    options.name = "tiny";
    options.load_format = LoadFormat::kDummy;
    options.max_batch_tokens = 64;
    options.max_batch_size = 3;
    return options;
  }

  static KvCacheSize CacheOf(const Model& model) {
    KvCacheSize cache = kCache;
    if (model.kv_layout().window_tokens > 0) cache.window_blocks = cache.blocks;
    return cache;
  }

  std::unique_ptr<Model> Load(const std::string& config, const std::string& mla_form = "auto",
                              int32_t max_batch_size = 3) {
    LoadOptions options = Options(config);
    options.mla_form = mla_form;
    options.max_batch_size = max_batch_size;
    auto model = LoadModel(options);
    EXPECT_TRUE(model.ok()) << model.status();
    EXPECT_EQ((*model)->AllocateKvCache(CacheOf(**model)), absl::OkStatus());
    return *std::move(model);
  }

  static absl::StatusOr<StepOutput> Run(Model& model, StepInput input) {
    const auto handle = model.Launch(std::move(input));
    return handle.ok() ? model.Wait(*handle) : handle.status();
  }

  static absl::StatusOr<StepOutput> Step(Model& model) {
    StepBuilder builder(16, 4);
    builder.Add(0, 0, {3, 4, 5}).Sample();
    return Run(model, builder.Take());
  }

  const std::filesystem::path dir_;
};

}  // namespace hadal::models::testing
