// SPDX-License-Identifier: Apache-2.0
// A whole checkpoint of DeepSeek-V4 in FP8 and FP4.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/checkpoint/tensor_spec.h"
#include "models/config/config.h"
#include "tests/models/checkpoint/weight_loader_fixture.h"
#include "tests/models/config/config_texts.h"
#include "tests/models/config/mutator.h"
#include "tests/models/outline.h"

namespace hadal::checkpoint {
namespace {

using kernels::DType;
using models::testing::ExpectedTensors;
using ::testing::HasSubstr;

// The tiny V4 configuration as published checkpoints store it: FP8 and FP4, bf16 and f32.
class QuantizedV4Test : public WeightLoaderTest {
 protected:
  void SetUp() override {
    auto config = config::ParseModelConfig(
        config::With(config::kTinyDeepseekV4Config, R"("dtype": "float32")",
                     R"("dtype": "bfloat16", "expert_dtype": "fp4", "quantization_config": {"quant_method": "fp8",
                "fmt": "e4m3", "scale_fmt": "ue8m0", "weight_block_size": [4, 8]})"));
    ASSERT_TRUE(config.ok()) << config.status();
    config_ = *config;
    specs_ = ExpectedTensors(config_);
  }
  // Every tensor but `left_out`, in its published format.
  void AddAll(const std::string& left_out = "") {
    for (const TensorSpec& spec : specs_) {
      if (spec.name == left_out) continue;
      const int64_t rows = spec.shape[0], columns = spec.shape.size() > 1 ? spec.shape[1] : 1;
      const auto elements = static_cast<size_t>(rows * columns);
      const std::string scale = spec.name.substr(0, spec.name.size() - 6) + "scale";
      if (spec.role == TensorRole::kExpert) {
        builder_.AddRaw(spec.name, "I8", {rows, columns / 2}, std::string(elements / 2, '\x5a'));
        builder_.AddRaw(scale, "F8_E8M0", {rows, (columns + 31) / 32}, std::string(static_cast<size_t>(rows), '\x7e'));
      } else if (spec.role == TensorRole::kMatrix) {
        const int64_t blocks = (rows + 3) / 4 * ((columns + 7) / 8);
        builder_.AddRaw(spec.name, "F8_E4M3", spec.shape, std::string(elements, '\x38'));
        builder_.AddRaw(scale, "F8_E8M0", {(rows + 3) / 4, (columns + 7) / 8},
                        std::string(static_cast<size_t>(blocks), '\x7d'));
      } else if (spec.role == TensorRole::kExpertTable) {
        builder_.AddRaw(spec.name, "I64", spec.shape, std::string(8 * elements, '\0'));
      } else if (KeptDType(spec.role, DType::kBF16) == DType::kF32) {
        builder_.AddF32(spec.name, spec.shape, RandomValues(elements, 4));
      } else {
        builder_.AddBF16(spec.name, spec.shape, RandomValues(elements, 5));
      }
    }
  }
  std::string CheckMessage() {
    Open(DType::kBF16);
    auto report = CheckTensors(loader_->store(), config_, specs_);
    return report.ok() ? "" : std::string(report.status().message());
  }

  std::vector<TensorSpec> specs_;
};

TEST_F(QuantizedV4Test, ChecksAndLoadsAWholeCheckpoint) {
  AddAll();
  Open(DType::kBF16);
  auto report = CheckTensors(loader_->store(), config_, specs_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->loaded_bytes, loader_->store().stored_bytes());
  for (const TensorSpec& spec : specs_) {
    if (spec.role == TensorRole::kExpertTable) continue;
    const LoadedTensor tensor = Must(loader_->Load(spec.name));
    EXPECT_EQ(Shape(tensor), spec.shape) << spec.name;
    if (spec.role == TensorRole::kExpert) {
      EXPECT_EQ(Floats(tensor)[1], 1.5f) << spec.name;
    } else if (spec.role == TensorRole::kMatrix) {
      EXPECT_EQ(Floats(tensor).back(), 0.25f) << spec.name;
    }
  }
}

TEST_F(QuantizedV4Test, NamesExpertsOfTheWrongShape) {
  const std::string name = "layers.2.ffn.experts.4.w1.weight";  // [6, 12]
  AddAll(name);
  builder_.AddRaw(name, "I8", {6, 12}, std::string(72, '\x11'));
  EXPECT_THAT(CheckMessage(), HasSubstr("tensor \"" + name +
                                        "\": expected shape [6, 6], two FP4 values a byte, for "
                                        "[6, 12], found [6, 12]"));
}

TEST_F(QuantizedV4Test, ReadsPackedBytesForRoutedExpertsOnly) {
  const std::string name = "layers.2.attn.wq_a.weight";  // [7, 12]
  AddAll(name);
  builder_.AddRaw(name, "I8", {7, 12}, std::string(84, '\x11'));
  EXPECT_THAT(CheckMessage(), HasSubstr("found I8 (packed FP4 is read for routed experts only)"));
}

TEST_F(QuantizedV4Test, NamesMissingFactorsUnderBothNames) {
  const std::string name = "layers.1.attn.wo_a.weight";  // [6, 20]
  AddAll(name);
  builder_.AddRaw(name, "F8_E4M3", {6, 20}, std::string(120, '\x38'));
  EXPECT_THAT(CheckMessage(),
              HasSubstr("1 tensor missing: layers.1.attn.wo_a.weight_scale_inv or layers.1.attn.wo_a.scale"));
}

TEST_F(QuantizedV4Test, TakesFp8ExpertsOfBaseCheckpoints) {
  const std::string name = "layers.2.ffn.experts.4.w1.weight";
  AddAll(name);
  // The factors that AddAll left out with it.
  builder_.AddRaw(name, "F8_E4M3", {6, 12}, std::string(72, '\x38'));
  builder_.AddF32("layers.2.ffn.experts.4.w1.scale", {2, 2}, {1, 2, 3, 4});
  EXPECT_EQ(CheckMessage(), "");
  EXPECT_EQ(Floats(Must(loader_->Load(name))).back(), 4.0f);
}

}  // namespace
}  // namespace hadal::checkpoint
