// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/half.h"
#include "models/checkpoint/weight_loader.h"
#include "tests/models/checkpoint/checkpoint_builder.h"
#include "tests/models/checkpoint/host_backend.h"

namespace hadal::checkpoint {

// A checkpoint folder with a loader on it.
class WeightLoaderTest : public ::testing::Test {
 protected:
  void Open(kernels::DType dtype, WeightLoader::Options options = {}) {
    dir_.Write("model.safetensors", builder_.Bytes(8));
    auto store = WeightStore::Open(dir_.path());
    ASSERT_TRUE(store.ok()) << store.status();
    Use(*store, dtype, std::move(options));
  }
  void Use(WeightStore store, kernels::DType dtype, WeightLoader::Options options = {}) {
    options.compute_dtype = dtype;
    auto loader = WeightLoader::Create(std::move(store), config_, backend_, std::move(options));
    ASSERT_TRUE(loader.ok()) << loader.status();
    loader_ = *std::move(loader);
  }

  static LoadedTensor Must(absl::StatusOr<LoadedTensor> tensor) {
    EXPECT_TRUE(tensor.ok()) << tensor.status();
    return tensor.ok() ? *std::move(tensor) : LoadedTensor();
  }

  static std::vector<float> Floats(const LoadedTensor& tensor) {
    std::vector<float> values;
    EXPECT_TRUE(tensor.view().contiguous());
    for (int64_t i = 0; i < tensor.view().numel(); ++i) {
      switch (tensor.view().dtype) {
        case kernels::DType::kBF16:
          values.push_back(kernels::ToFloat(tensor.view().as<kernels::BF16>()[i]));
          break;
        case kernels::DType::kF16:
          values.push_back(kernels::ToFloat(tensor.view().as<kernels::F16>()[i]));
          break;
        default:
          values.push_back(tensor.view().as<float>()[i]);
      }
    }
    return values;
  }

  static std::vector<int64_t> Shape(const LoadedTensor& tensor) {
    return {tensor.view().sizes.begin(), tensor.view().sizes.begin() + tensor.view().rank};
  }

  TempDir dir_;
  SafetensorsBuilder builder_;
  config::ModelConfig config_;
  HostBackend host_;
  HostBackend device_{/*host_accessible=*/false};
  kernels::Backend* backend_ = &host_;
  std::unique_ptr<WeightLoader> loader_;
};

}  // namespace hadal::checkpoint
