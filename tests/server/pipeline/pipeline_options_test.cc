// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/pipeline_options.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::pipeline {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What the flags give, or an error.
absl::StatusOr<PipelineOptions> Parse(const std::vector<std::string>& args) {
  PipelineOptions options;
  base::FlagSet flags({.prefix = "HADAL_PIPELINE_TEST_", .others = {}});
  options.AddFlags(&flags);
  if (auto parsed = flags.Parse("test", args); !parsed.ok()) return parsed.status();
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  return options;
}

std::string ErrorOf(const std::vector<std::string>& args) { return std::string(Parse(args).status().message()); }

TEST(PipelineOptionsTest, TakesWorkersInOrder) {
  const auto options = Parse({"--pipeline-workers=b:7000,[::1]:7001", "--pipeline-layers=3,1,2"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_THAT(options->workers, ElementsAre("b:7000", "[::1]:7001"));
  EXPECT_THAT(options->layers, ElementsAre(3, 1, 2));
  EXPECT_TRUE(options->enabled());
  EXPECT_FALSE(Parse({})->enabled());
}

TEST(PipelineOptionsTest, NamesWhatIsNoWorker) {
  for (const char* text : {"b", "b:", ":7000", "b:0", "b:65536", "b:7000,", "b:x"}) {
    EXPECT_THAT(ErrorOf({std::string("--pipeline-workers=") + text}), HasSubstr("expected host:port")) << text;
  }
  EXPECT_THAT(ErrorOf({"--pipeline-workers=b:1,b:1"}), HasSubstr("names a worker twice"));
}

TEST(PipelineOptionsTest, LayersAreForEveryHost) {
  EXPECT_THAT(ErrorOf({"--pipeline-workers=b:1", "--pipeline-layers=1,2,3"}),
              HasSubstr("--pipeline-layers has 3 numbers, expected 2"));
  for (const char* text : {"0,1", "a,1", "1,", "1,-1"}) {
    EXPECT_THAT(ErrorOf({"--pipeline-workers=b:1", std::string("--pipeline-layers=") + text}),
                HasSubstr("expected numbers of layers"))
        << text;
  }
}

TEST(PipelineOptionsTest, StepsAreOneForEachHostUnlessTheyAreGiven) {
  EXPECT_EQ(Parse({"--pipeline-workers=b:1"})->steps, 0);
  EXPECT_EQ(Parse({"--pipeline-workers=b:1", "--pipeline-steps=3"})->steps, 3);
  EXPECT_THAT(ErrorOf({"--pipeline-workers=b:1", "--pipeline-steps=65"}), HasSubstr("65"));
}

TEST(PipelineOptionsTest, TheOthersNeedWorkers) {
  EXPECT_THAT(ErrorOf({"--pipeline-key-file=/k"}), HasSubstr("--pipeline-key-file is given without"));
  EXPECT_THAT(ErrorOf({"--pipeline-layers=1,1"}), HasSubstr("--pipeline-layers is given without"));
  EXPECT_THAT(ErrorOf({"--pipeline-steps=2"}), HasSubstr("--pipeline-steps is given without"));
}

}  // namespace
}  // namespace hadal::pipeline
