// SPDX-License-Identifier: Apache-2.0
//
// What a step asks of a GPU: launches, copies and waits, counted on the emulated device in the steady state. A change
// that adds one fails here; docs/gpu-step.md shows the same numbers.
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "models/warm_up.h"
#include "tests/kernels/cuda/emulator/control.h"
#include "tests/models/cuda_serving_fixture.h"
#include "tests/models/families/tiny_configs.h"
#include "tests/models/step_builder.h"

namespace hadal::models {
namespace {

using kernels::cuda_emulator::TheDevice;
using kernels::cuda_emulator::Work;
using testing::StepBuilder;

struct StepWork {
  Work decode, prefill;
};

class StepWorkTest : public testing::CudaServingTest {
 protected:
  StepWorkTest() { TheDevice().flashinfer = true; }

  // Two sequences that decode, and a prompt of four tokens, both greedy; each as the second of its kind, so that what
  // the first one learns is known.
  StepWork Measure(const std::string& config, bool graphs = false) {
    setenv("HADAL_CUDA_GRAPHS", graphs ? "on" : "off", 1);
    const std::unique_ptr<Model> model = Load(testing::Wide(config));
    unsetenv("HADAL_CUDA_GRAPHS");
    const bool windowed = model->kv_layout().window_tokens > 0;
    StepWork found;
    for (int run = 0; run < (graphs ? 4 : 2); ++run) {
      StepBuilder decode(16, 4, windowed), prefill(16, 4, windowed);
      decode.Add(0, 3, {6}).Sample();
      decode.Add(1, 5, {12}).Sample();
      prefill.Add(2, 0, {7, 8, 9, 10}).Sample();
      found.decode = Counted(*model, decode.Take());
      found.prefill = Counted(*model, prefill.Take());
    }
    return found;
  }

  static Work Counted(Model& model, StepInput input) {
    const Work before = TheDevice();
    const int64_t pageable = TheDevice().pageable_copies;
    const auto output = Run(model, std::move(input));
    EXPECT_TRUE(output.ok()) << output.status();
    EXPECT_EQ(TheDevice().pageable_copies, pageable);  // what goes up lies in the ring
    return static_cast<const Work&>(TheDevice()) - before;
  }
};

std::string Documented() {
  const char* source = std::getenv("HADAL_SOURCE_DIR");
  std::ifstream file(absl::StrCat(source != nullptr ? source : ".", "/docs/gpu-step.md"));
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Launches of a decode step and of a prompt.
struct Launches {
  int64_t decode = 0, prefill = 0;
};

// What one more layer of its kind adds.
struct LayerKind {
  const char* name;
  std::vector<std::pair<std::string, std::string>> one_more;  // replacements in the configuration
  Launches launches;
};

struct Pinned {
  const char* family;
  const char* config;
  Launches launches;
  std::vector<LayerKind> layers;
};

std::vector<Pinned> AllPinned() {
  const std::pair<std::string, std::string> third = {"_layers\": 2", "_layers\": 3"},
                                            fourth = {"_layers\": 3", "_layers\": 4"};
  return {
      {"qwen2", testing::kTinyQwen2, {24, 24}, {{"dense", {third}, {8, 8}}}},
      {"qwen3", testing::kTinyQwen3, {24, 24}, {{"dense", {third}, {8, 8}}}},
      {"deepseek_v2", testing::kTinyDeepseekV2, {51, 50}, {{"MoE", {fourth}, {16, 16}}}},
      {"deepseek_v3",
       testing::kTinyDeepseekV3,
       {57, 56},
       {{"dense", {fourth, {"_replace\": 1", "_replace\": 2"}}, {13, 13}}, {"MoE", {fourth}, {18, 18}}}},
      {"deepseek_v32", testing::kTinyDeepseekV32, {66, 65}, {{"MoE", {fourth}, {21, 21}}}},
      {"deepseek_v4",
       testing::kTinyDeepseekV4,
       {139, 139},
       {{"CSA, MoE", {{"_layers\": 4", "_layers\": 5"}, {"4, 8, 4]", "4, 8, 4, 4]"}}, {39, 39}}}},
  };
}

TEST_F(StepWorkTest, AStepAsksForThisMuch) {
  const std::string page = Documented();
  for (const Pinned& pinned : AllPinned()) {
    SCOPED_TRACE(pinned.family);
    const StepWork found = Measure(pinned.config);
    EXPECT_EQ(found.decode.launches, pinned.launches.decode);
    EXPECT_EQ(found.prefill.launches, pinned.launches.prefill);
    for (const Work& work : {found.decode, found.prefill}) {
      EXPECT_EQ(work.uploads, 1) << work;
      EXPECT_EQ(work.downloads, 1) << work;
      EXPECT_EQ(work.syncs, 1) << work;
      EXPECT_EQ(work.copies + work.fills, 0) << work;
      EXPECT_LE(work.upload_bytes, 4096) << work;
      EXPECT_LE(work.download_bytes, 24) << work;  // token, log-probability and status of each row
    }
    for (const LayerKind& layer : pinned.layers) {
      const StepWork more = Measure(absl::StrReplaceAll(pinned.config, layer.one_more));
      EXPECT_EQ(more.decode.launches - found.decode.launches, layer.launches.decode) << layer.name;
      EXPECT_EQ(more.prefill.launches - found.prefill.launches, layer.launches.prefill) << layer.name;
      const std::string row = absl::StrCat("| ", pinned.family, " | ", layer.name, " | ", layer.launches.decode, " | ",
                                           layer.launches.prefill, " |");
      EXPECT_TRUE(absl::StrContains(page, row)) << "docs/gpu-step.md lacks " << row;
    }
  }
}

// Steps are padded: of twenty batch sizes, each come twice, those recorded are 1, 2, 4, 8, 16 and 20, the largest.
TEST_F(StepWorkTest, FewGraphsServeAllBatchSizes) {
  TheDevice().flashinfer = false;
  const std::unique_ptr<Model> model = Load(testing::kTinyQwen2, "auto", 20);
  for (int32_t run = 0; run < 2; ++run) {
    for (int32_t sequences = 1; sequences <= 20; ++sequences) {
      StepBuilder decode(16, 1);
      for (int32_t s = 0; s < sequences; ++s) decode.Add(s, 3, {6 + s}).Sample();
      ASSERT_EQ(Run(*model, decode.Take()).status(), absl::OkStatus());
    }
  }
  EXPECT_EQ(TheDevice().graphs, 6);
  EXPECT_EQ(TheDevice().replays, 40 - 6);  // the first of a kind is issued
}

// A step behind another one: its tokens are set by one more launch, and the host waits once for each of the two, for
// results that nothing on the device has waited for.
TEST_F(StepWorkTest, AFedStepIsOneLaunchMore) {
  for (const bool on_device : {true, false}) {
    setenv("HADAL_CUDA_FEED", on_device ? "on" : "off", 1);
    const std::unique_ptr<Model> model = Load(testing::Wide(testing::kTinyQwen2));
    unsetenv("HADAL_CUDA_FEED");
    Work waited;
    for (int run = 0; run < 3; ++run) {  // issued, recorded, replayed
      StepBuilder decode(16, 4);
      decode.Add(0, 3, {6}).Sample();
      waited = Counted(*model, decode.Take());
    }
    StepBuilder first(16, 4), fed(16, 4);
    first.Add(0, 3, {6}).Sample();
    fed.Add(0, 4, {FedToken(0)}).Sample();
    const Work before = TheDevice();
    const auto one = model->Launch(first.Take()), two = model->Launch(fed.Take());
    ASSERT_TRUE(one.ok() && two.ok());
    ASSERT_TRUE(model->Wait(*one).ok() && model->Wait(*two).ok());
    const Work both = static_cast<const Work&>(TheDevice()) - before;
    EXPECT_EQ(both.launches, 2 * waited.launches + (on_device ? 1 : 0)) << both;
    EXPECT_EQ(both.replays, 2) << both;
    EXPECT_EQ(both.uploads, on_device ? 2 : 3) << both;
    EXPECT_EQ(both.downloads, on_device ? 2 : 4) << both;
    EXPECT_EQ(both.syncs, on_device ? 2 : 4) << both;
    EXPECT_EQ(both.copies + both.fills, 0) << both;
  }
}

// Tables are widened: a sequence that grows from one block to eight needs one recorded step.
TEST_F(StepWorkTest, OneGraphServesAllWidthsOfBlockTables) {
  TheDevice().flashinfer = false;
  const std::unique_ptr<Model> model = Load(testing::kTinyQwen2);
  for (int32_t blocks = 1; blocks <= 8; ++blocks) {
    StepBuilder decode(16, blocks);
    decode.Add(0, 16 * blocks - 1, {6}).Sample();
    ASSERT_EQ(Run(*model, decode.Take()).status(), absl::OkStatus());
  }
  EXPECT_EQ(TheDevice().graphs, 1);
  EXPECT_EQ(TheDevice().replays, 8 - 1);
}

// Of a decode step that is replayed, only the sampler is launched by itself.
TEST_F(StepWorkTest, ADecodeStepIsOneGraph) {
  for (const char* config : {testing::kTinyQwen2, testing::kTinyDeepseekV3}) {
    const StepWork found = Measure(config, /*graphs=*/true);
    EXPECT_EQ(found.decode.replays, 1) << found.decode;
    EXPECT_EQ(found.decode.launches, 2) << found.decode;
    EXPECT_EQ(found.decode.uploads, 1) << found.decode;
    EXPECT_EQ(found.decode.syncs, 1) << found.decode;
    EXPECT_EQ(found.prefill.replays, 0) << found.prefill;
  }
}

// What a first step learns, the warm-up has learnt: no request is slower for being the first.
TEST_F(StepWorkTest, TheFirstStepAfterTheWarmUpDoesWhatTheTenthDoes) {
  for (const char* config : {testing::kTinyQwen2, testing::kTinyDeepseekV3}) {
    const std::unique_ptr<Model> model = Load(testing::Wide(config));
    const absl::Status warm =
        WarmUp(*model, {.max_tokens = 64, .max_sequences = 3, .cache = kCache, .every_size = true}).status();
    ASSERT_EQ(warm, absl::OkStatus());
    const int64_t graphs = TheDevice().graphs, allocations = TheDevice().allocations, events = TheDevice().events;
    std::vector<Work> prompts, decodes;
    for (int32_t step = 0; step < 10; ++step) {
      StepBuilder prompt(16, 4), decode(16, 4);
      prompt.Add(1, 0, {7, 8, 9, 10}).Sample();
      decode.Add(0, 3 + step, {6}).Sample();
      prompts.push_back(Counted(*model, prompt.Take()));
      decodes.push_back(Counted(*model, decode.Take()));
    }
    EXPECT_EQ(prompts.front(), prompts.back());
    EXPECT_EQ(decodes.front(), decodes.back());
    EXPECT_EQ(decodes.front().replays, 1);
    EXPECT_EQ(TheDevice().graphs, graphs);
    EXPECT_EQ(TheDevice().allocations, allocations);
    EXPECT_EQ(TheDevice().events, events);
  }
}

// Of any number of rows, and of all kinds in one batch: what the slowest of them takes.
TEST_F(StepWorkTest, SamplingTakesTheseLaunches) {
  const std::unique_ptr<Model> model = Load(testing::kTinyQwen2);
  const SamplingParams greedy = {.temperature = 0.0f}, draw = {.temperature = 1.0f},
                       top_k = {.temperature = 1.0f, .top_k = 5}, top_p = {.temperature = 1.0f, .top_p = 0.9f},
                       both = {.temperature = 1.0f, .top_k = 5, .top_p = 0.9f};
  const auto launches = [&](const std::vector<SamplingParams>& rows) {
    Work work;
    for (int run = 0; run < 3; ++run) {  // issued, recorded, replayed: the sampler is what is launched
      StepBuilder decode(16, 4);
      for (size_t s = 0; s < rows.size(); ++s) decode.Add(static_cast<int32_t>(s), 3, {6}).Sample(rows[s]);
      work = Counted(*model, decode.Take());
    }
    EXPECT_EQ(work.replays, 1) << work;
    EXPECT_EQ(work.uploads, 1) << work;
    return work.launches;
  };
  EXPECT_EQ(launches({greedy, greedy}), 2);
  EXPECT_EQ(launches({draw}), 3);
  EXPECT_EQ(launches({top_k, greedy}), 6);
  EXPECT_EQ(launches({top_p}), 6);
  EXPECT_EQ(launches({both}), 9);
  EXPECT_EQ(launches({greedy, top_k, top_p}), 9);
}

}  // namespace
}  // namespace hadal::models
