// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/models/start_rate.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "benchmarks/models/dummy_checkpoint.h"
#include "gtest/gtest.h"
#include "models/checkpoint/weights.h"
#include "tests/models/checkpoint/checkpoint_builder.h"
#include "tests/models/families/tiny_configs.h"

namespace hadal::models {
namespace {

class StartRateTest : public ::testing::TestWithParam<std::string> {
 protected:
  std::string Config(const std::string& text) const {
    const std::string dir = dir_.File("Tiny-Model");
    std::filesystem::create_directories(dir);
    std::ofstream(dir + "/config.json") << text;
    return dir;
  }
  const checkpoint::TempDir dir_;
};

TEST_P(StartRateTest, LoadsTheFilesThatItWroteAndComparesWithReadingThem) {
  for (const bool cold : {false, true}) {
    const StartOptions start = {.folder = dir_.File("written"), .cold = cold};
    RateOptions options;
    options.device = GetParam();
    options.context_tokens = 16;
    options.runs = 1;
    options.copy_bytes = 1 << 16;
    std::vector<std::string> lines;
    const absl::Status done = MeasureStart(Config(testing::kTinyQwen2), options, start,
                                           [&](const std::string& line) { lines.push_back(line); });
    ASSERT_TRUE(done.ok()) << done;
    ASSERT_EQ(lines.size(), 1u);
    EXPECT_TRUE(absl::StrContains(lines[0], R"("model": "Tiny-Model")")) << lines[0];
    EXPECT_TRUE(absl::StrContains(lines[0], absl::StrCat(R"("cold": )", cold ? "true" : "false"))) << lines[0];
    for (const std::string field : {"seconds", "load_s", "step_s", "gb_s", "read_gb_s", "share", "file_gb"}) {
      EXPECT_TRUE(absl::StrContains(lines[0], absl::StrCat("\"", field, "\": "))) << field << ": " << lines[0];
      EXPECT_FALSE(absl::StrContains(lines[0], absl::StrCat("\"", field, "\": 0,"))) << lines[0];
    }
    const bool uploads = !absl::StrContains(lines[0], R"("upload_gb_s": 0.000)");
    EXPECT_EQ(uploads, GetParam() == "cuda") << lines[0];
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, StartRateTest, ::testing::Values("cpu", "cuda"),
                         [](const ::testing::TestParamInfo<std::string>& info) { return info.param; });

class DummyCheckpointTest : public StartRateTest {};

TEST_P(DummyCheckpointTest, HoldsEveryTensorOfTheFamily) {
  for (const char* text : {testing::kTinyQwen2, testing::kTinyDeepseekMoe}) {
    const absl::StatusOr<DummyCheckpoint> written =
        WriteDummyCheckpoint(Config(text), dir_.File("written"), int64_t{1} << 30);
    ASSERT_TRUE(written.ok()) << written.status();
    EXPECT_EQ(written->layers, written->of_layers);
    const auto store = checkpoint::WeightStore::Open(dir_.File("written"));
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_EQ(store->stored_bytes(), written->bytes);
    std::filesystem::remove_all(dir_.File("written"));
  }
}

TEST_P(DummyCheckpointTest, LeavesOutTheLastLayersAtTheLimit) {
  const std::string from = Config(testing::kTinyQwen2);
  const DummyCheckpoint all = *WriteDummyCheckpoint(from, dir_.File("all"), int64_t{1} << 30);
  ASSERT_GT(all.layers, 1);
  const absl::StatusOr<DummyCheckpoint> some = WriteDummyCheckpoint(from, dir_.File("some"), all.bytes - 1);
  ASSERT_TRUE(some.ok()) << some.status();
  EXPECT_EQ(some->layers, all.layers - 1);
  EXPECT_EQ(some->of_layers, all.layers);
  EXPECT_EQ(config::ReadModelConfig(dir_.File("some"))->layers, some->layers);
  const absl::Status none = WriteDummyCheckpoint(from, dir_.File("none"), 1000).status();
  EXPECT_EQ(none.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(none.message(), "limit 1000")) << none;
}

INSTANTIATE_TEST_SUITE_P(Once, DummyCheckpointTest, ::testing::Values("cpu"));

}  // namespace
}  // namespace hadal::models
