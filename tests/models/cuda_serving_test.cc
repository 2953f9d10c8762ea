// SPDX-License-Identifier: Apache-2.0
//
// Models on the emulated device as the server loads and runs them.
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "models/registry.h"
#include "models/warm_up.h"
#include "tests/kernels/cuda/emulator/control.h"
#include "tests/models/cuda_serving_fixture.h"
#include "tests/models/families/tiny_configs.h"
#include "tests/models/step_builder.h"

namespace hadal::models {
namespace {

using kernels::cuda_emulator::TheDevice;
using ::testing::AllOf;
using testing::CudaServingTest;
using ::testing::HasSubstr;

TEST_F(CudaServingTest, AutoTakesTheGpuAndSaysWhich) {
  const auto model = LoadModel(Options(testing::kTinyLlama));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->info().device, "cuda:0");
  EXPECT_EQ((*model)->info().device_text, "cuda:0, emulated GPU, compute capability 9.0");
}

TEST_F(CudaServingTest, AutoTakesTheCpuOnlyWithoutAGpu) {
  setenv("CUDA_VISIBLE_DEVICES", "", 1);
  TheDevice().device_error = 100;  // cudaErrorNoDevice
  const auto on_cpu = LoadModel(Options(testing::kTinyLlama));
  ASSERT_TRUE(on_cpu.ok()) << on_cpu.status();
  EXPECT_EQ((*on_cpu)->info().device, "cpu");
  TheDevice().device_error = 802;  // cudaErrorSystemNotReady
  const absl::Status broken = LoadModel(Options(testing::kTinyLlama)).status();
  EXPECT_EQ(broken.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(broken.message()), HasSubstr("device cpu would do without the GPU"));
  unsetenv("CUDA_VISIBLE_DEVICES");
}

TEST_F(CudaServingTest, ADamagedFileOfAlgorithmsIsToldAndServesNobody) {
  std::ofstream(dir_ / "cublaslt-emulated_GPU-all.txt") << "hadal cublasLt algorithms, format 1\n"
                                                           "device emulated GPU\n"
                                                           "driver 13000, cublasLt 0, multiprocessors 0\n"
                                                           "bf16 bf16\n";
  std::vector<std::string> lines;
  LoadOptions options = Options(testing::kTinyLlama);
  options.algorithm_folder = dir_.string();
  options.warn = [&](const std::string& line) { lines.push_back(line); };
  ASSERT_TRUE(LoadModel(options).ok());
  EXPECT_THAT(lines, ::testing::ElementsAre(HasSubstr("cublaslt-emulated_GPU-all.txt: line 4 is malformed")));
}

TEST_F(CudaServingTest, EveryFamilyWarmsUp) {
  for (const testing::TinyFamily& tiny : testing::TinyFamilies()) {
    SCOPED_TRACE(tiny.name);
    const std::unique_ptr<Model> model = Load(tiny.config);
    const int64_t launches = TheDevice().launches, allocations = TheDevice().allocations;
    const auto steps =
        WarmUp(*model, {.max_tokens = 64, .max_sequences = 3, .cache = CacheOf(*model), .every_size = true});
    ASSERT_TRUE(steps.ok()) << steps.status();
    EXPECT_GT(*steps, 5);
    EXPECT_GT(TheDevice().launches, launches);
    EXPECT_EQ(TheDevice().allocations, allocations);  // all memory was reserved with the caches
  }
}

// One plan a step, in the upload of its arrays, whatever the number of layers; FlashInfer itself is played by loops.
TEST_F(CudaServingTest, AStepMakesOnePlanForAllLayers) {
  TheDevice().flashinfer = true;
  for (const char* config : {testing::kTinyLlama, testing::kTinyDeepseekV3}) {
    const std::unique_ptr<Model> model = Load(testing::Wide(config), "absorbed");
    const auto first = Step(*model);
    ASSERT_TRUE(first.ok()) << first.status();
    const int64_t plans = TheDevice().plans, uploads = TheDevice().uploads, allocations = TheDevice().allocations;
    const auto second = Step(*model);
    ASSERT_TRUE(second.ok()) << second.status();
    EXPECT_EQ(TheDevice().plans, plans + 1) << config;
    EXPECT_EQ(TheDevice().uploads, uploads + 1) << config;  // with the step's arrays and its sampled rows
    EXPECT_EQ(TheDevice().allocations, allocations);
    EXPECT_EQ(second->samples[0].token_id, first->samples[0].token_id);
  }
}

// Prompts, decode next to a chunk after a prefix: what the step's plan says of pages, rows and lengths is true.
TEST_F(CudaServingTest, AttentionByFlashInferSaysWhatOurOwnSays) {
  for (const testing::TinyFamily& tiny : testing::TinyFamilies()) {
    SCOPED_TRACE(tiny.name);
    std::vector<float> values[2];
    for (const bool flashinfer : {false, true}) {
      TheDevice().flashinfer = flashinfer;
      const std::unique_ptr<Model> model = Load(testing::Wide(tiny.config), "absorbed");
      const bool windowed = model->kv_layout().window_tokens > 0;
      testing::StepBuilder prompts(16, 4, windowed), mixed(16, 4, windowed);
      prompts.Add(0, 0, std::vector<int32_t>(19, 3)).Add(1, 0, {7, 8, 9});
      mixed.Add(1, 3, {10}).Add(0, 19, std::vector<int32_t>(18, 4));
      for (testing::StepBuilder* step : {&prompts, &mixed}) {
        for (int32_t row = 0; row < step->input().tokens(); ++row) step->Score(row, 5);
        const auto handle = model->Launch(step->Take());
        ASSERT_TRUE(handle.ok()) << handle.status();
        const auto output = model->Wait(*handle);
        ASSERT_TRUE(output.ok()) << output.status();
        for (const SampleResult& sample : output->samples) values[flashinfer].push_back(sample.logprob);
      }
    }
    ASSERT_EQ(values[0].size(), values[1].size());
    for (size_t i = 0; i < values[0].size(); ++i) EXPECT_NEAR(values[0][i], values[1][i], 0.05f) << i;
  }
  EXPECT_GT(TheDevice().plans, 0);
}

// Prompts of several lengths, a chunk after a prefix and decode in one step, keys and values expanded: the kernel for
// Hopper, on lists that went up with the step's arrays, against the generic one.
TEST_F(CudaServingTest, PromptsByFlashInferForHopperSayWhatOurOwnSays) {
  TheDevice().flashinfer = true;
  TheDevice().multiprocessors = TheDevice().context_multiprocessors = 3;
  for (const char* config : {testing::kTinyDeepseekV2, testing::kTinyDeepseekV32}) {
    std::vector<float> values[2];
    for (const bool hopper : {false, true}) {
      setenv("HADAL_CUDA_HOPPER", hopper ? "on" : "off", 1);
      const std::unique_ptr<Model> model = Load(testing::Wide(config), "auto");
      unsetenv("HADAL_CUDA_HOPPER");
      const int64_t calls = TheDevice().hopper_calls, allocations = TheDevice().allocations;
      for (int run = 0; run < 2; ++run) {
        testing::StepBuilder prompts(16, 4), mixed(16, 4);
        prompts.Add(0, 0, std::vector<int32_t>(19, 3)).Add(1, 0, {7, 8, 9});
        mixed.Add(1, 3, {10}).Add(0, 19, std::vector<int32_t>(20, 4)).Add(2, 0, {1, 2});
        for (testing::StepBuilder* step : {&prompts, &mixed}) {
          for (int32_t row = 0; row < step->input().tokens(); ++row) step->Score(row, 5);
          const int64_t uploads = TheDevice().uploads;
          const auto output = Run(*model, step->Take());
          ASSERT_TRUE(output.ok()) << output.status();
          if (run > 0) {
            EXPECT_EQ(TheDevice().uploads, uploads + 1);
          }
          for (const SampleResult& sample : output->samples) values[hopper].push_back(sample.logprob);
        }
      }
      EXPECT_EQ(TheDevice().hopper_calls > calls, hopper);
      EXPECT_EQ(TheDevice().allocations, allocations);  // keys and lists have room of the plan
    }
    ASSERT_EQ(values[0].size(), values[1].size());
    for (size_t i = 0; i < values[0].size(); ++i) EXPECT_NEAR(values[0][i], values[1][i], 0.05f) << i;
  }
}

// Whether the library's kernels are right shows when the model warms up, and a wrong one is told of and left alone.
TEST_F(CudaServingTest, AWarmUpComparesTheKernelsForHopperWithTheGenericOne) {
  TheDevice().flashinfer = true;
  const std::string config = testing::Wide(testing::kTinyDeepseekV3);
  const auto warm_up = [&](std::vector<std::string>& lines, std::unique_ptr<Model>& model) {
    LoadOptions options = Options(config);
    options.warn = [&](const std::string& line) {
      if (absl::StrContains(line, "Hopper")) lines.push_back(line);
    };
    auto loaded = LoadModel(options);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    model = *std::move(loaded);
    ASSERT_EQ(model->AllocateKvCache(kCache), absl::OkStatus());
    const auto steps = WarmUp(*model, {.max_tokens = 18, .max_sequences = 2, .cache = kCache, .every_size = true});
    ASSERT_TRUE(steps.ok()) << steps.status();
  };
  std::vector<std::string> lines;
  std::unique_ptr<Model> model;
  warm_up(lines, model);
  EXPECT_THAT(lines, ::testing::IsEmpty());
  int64_t calls = TheDevice().hopper_calls;
  const auto right = Step(*model);
  ASSERT_TRUE(right.ok()) << right.status();
  EXPECT_GT(TheDevice().hopper_calls, calls);

  for (const bool refused : {false, true}) {
    TheDevice().wrong_on_hopper = !refused;
    TheDevice().error_on_hopper = refused ? 801 : 0;  // cudaErrorNotSupported
    lines.clear();
    warm_up(lines, model);
    const std::string why = refused ? "cudaError" : "where the generic kernel says";
    EXPECT_THAT(lines,
                ::testing::UnorderedElementsAre(
                    AllOf(HasSubstr("FlashInfer's kernel for Hopper is not used for mla_attention"), HasSubstr(why)),
                    AllOf(HasSubstr("FlashInfer's kernel for Hopper is not used for mla_prefill"), HasSubstr(why))));
    calls = TheDevice().hopper_calls;
    const auto without = Step(*model);
    ASSERT_TRUE(without.ok()) << without.status();
    EXPECT_EQ(TheDevice().hopper_calls, calls);
    EXPECT_EQ(without->samples[0].token_id, right->samples[0].token_id);
  }
}

TEST_F(CudaServingTest, OtherGpusDoWithoutTheKernelsForHopper) {
  TheDevice().flashinfer = true;
  TheDevice().major = 8;
  const std::unique_ptr<Model> model = Load(testing::Wide(testing::kTinyDeepseekV3));
  EXPECT_TRUE(Step(*model).ok());
  EXPECT_EQ(TheDevice().hopper_calls, 0);
}

// Decode steps across the ends of blocks, replayed from the third on: the same bits as when all of them are issued.
TEST_F(CudaServingTest, ReplayedStepsSayWhatIssuedOnesSay) {
  for (const testing::TinyFamily& tiny : testing::TinyFamilies()) {
    const absl::string_view name = tiny.name;
    for (const bool flashinfer : {false, true}) {
      if (flashinfer && name != "qwen2" && name != "deepseek_v3") continue;  // the two forms of attention that it has
      SCOPED_TRACE(absl::StrCat(name, flashinfer ? ", FlashInfer" : ""));
      std::vector<float> values[2];
      for (const bool graphs : {false, true}) {
        TheDevice() = {};
        TheDevice().flashinfer = flashinfer;
        setenv("HADAL_CUDA_GRAPHS", graphs ? "on" : "off", 1);
        const std::unique_ptr<Model> model = Load(flashinfer ? testing::Wide(tiny.config) : tiny.config);
        unsetenv("HADAL_CUDA_GRAPHS");
        const bool windowed = model->kv_layout().window_tokens > 0;
        testing::StepBuilder prompts(16, 3, windowed);
        prompts.Add(0, 0, std::vector<int32_t>(13, 3)).Add(1, 0, {7, 8, 9});
        ASSERT_EQ(Run(*model, prompts.Take()).status(), absl::OkStatus());
        for (int32_t step = 0; step < 6; ++step) {
          testing::StepBuilder decode(16, 3, windowed);
          decode.Add(0, 13 + step, {10 + step}).Score(0, 5);
          decode.Add(1, 3 + step, {90 - step}).Score(1, 250);
          const auto output = Run(*model, decode.Take());
          ASSERT_TRUE(output.ok()) << output.status();
          for (const SampleResult& sample : output->samples) values[graphs].push_back(sample.logprob);
        }
        const bool replayable = name != "deepseek_v32" && !windowed;
        EXPECT_EQ(TheDevice().replays >= 4, graphs && replayable) << TheDevice().replays;
      }
      EXPECT_EQ(values[0], values[1]);
    }
  }
}

// Nine sequences in a step of sixteen, the bits of nine in a step of nine; and what pads it writes to no cache, or the
// first sequence, whose key is in slot 0, would change.
TEST_F(CudaServingTest, PaddedStepsSayWhatStepsOfTheirOwnSizeSay) {
  for (const char* config : {testing::kTinyQwen2, testing::kTinyDeepseekV3}) {
    for (const bool flashinfer : {false, true}) {
      std::vector<float> values[2];
      for (const bool padded : {false, true}) {
        TheDevice() = {};
        TheDevice().flashinfer = flashinfer;
        const std::unique_ptr<Model> model = Load(flashinfer ? testing::Wide(config) : config, "auto", padded ? 16 : 9);
        testing::StepBuilder prompts(16, 2);
        for (int32_t s = 0; s < 9; ++s) prompts.Add(s, 0, {3 + s, 4});
        ASSERT_EQ(Run(*model, prompts.Take()).status(), absl::OkStatus());
        for (int32_t step = 0; step < 3; ++step) {
          testing::StepBuilder decode(16, 2);
          for (int32_t s = 0; s < 9; ++s) decode.Add(s, 2 + step, {10 * s + step}).Score(s, 5);
          const auto output = Run(*model, decode.Take());
          ASSERT_TRUE(output.ok()) << output.status();
          ASSERT_EQ(output->samples.size(), 9u);
          for (const SampleResult& sample : output->samples) values[padded].push_back(sample.logprob);
        }
        EXPECT_GE(TheDevice().replays, 1);
      }
      EXPECT_EQ(values[0], values[1]);
    }
  }
}

// What graphs take is outside all buffers: the plan keeps it free, and so does the model that is loaded.
TEST_F(CudaServingTest, ThePlanCountsTheGraphs) {
  LoadOptions options = Options(testing::kTinyLlama);
  options.device = "cuda";
  int64_t planned[2] = {}, loaded[2] = {};
  for (const bool graphs : {false, true}) {
    setenv("HADAL_CUDA_GRAPHS", graphs ? "on" : "off", 1);
    const auto plan = PlanModel(options, 16);
    const auto model = LoadModel(options);
    unsetenv("HADAL_CUDA_GRAPHS");
    ASSERT_TRUE(plan.ok()) << plan.status();
    ASSERT_TRUE(model.ok()) << model.status();
    planned[graphs] = plan->memory.workspace_bytes;
    loaded[graphs] = (*model)->WorkspaceBytes(options.max_batch_tokens, options.max_batch_size);
  }
  EXPECT_EQ(planned[1] - planned[0], int64_t{32} << 20);  // kMaxGraphs of kGraphBytes
  EXPECT_EQ(loaded[1] - loaded[0], int64_t{32} << 20);
}

TEST_F(CudaServingTest, ADeviceThatCannotComputeFailsTheWarmUp) {
  const std::unique_ptr<Model> model = Load(testing::kTinyLlama);
  TheDevice().launch_error = 209;  // cudaErrorNoKernelImageForDevice
  const absl::Status failed = WarmUp(*model, {.max_tokens = 64, .max_sequences = 3, .cache = kCache}).status();
  EXPECT_EQ(failed.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(failed.message()), HasSubstr("tiny: warm-up on cuda:0: a step of 1 x 32 tokens"));
}

TEST_F(CudaServingTest, AFailureEndsWithItsStep) {
  const std::unique_ptr<Model> model = Load(testing::kTinyLlama);
  const auto before = Step(*model);
  ASSERT_TRUE(before.ok()) << before.status();
  TheDevice().launch_error = 719;  // cudaErrorLaunchFailure
  EXPECT_EQ(Step(*model).status().code(), absl::StatusCode::kInternal);
  const auto after = Step(*model);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(after->samples[0].token_id, before->samples[0].token_id);
}

}  // namespace
}  // namespace hadal::models
