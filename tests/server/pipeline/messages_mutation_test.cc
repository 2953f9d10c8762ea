// SPDX-License-Identifier: Apache-2.0
//
// Messages with bytes changed, cut out and added at random: none may crash a decoder, and a step that one takes is
// safe for what comes after it.
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "models/step_check.h"
#include "server/pipeline/messages.h"
#include "server/pipeline/step_codec.h"
#include "tests/server/pipeline/steps.h"

namespace hadal::pipeline {
namespace {

constexpr int kTrials = 20'000;

std::vector<std::byte> Mutated(std::vector<std::byte> bytes, std::mt19937& random) {
  const int changes = 1 + static_cast<int>(random() % 4);
  for (int i = 0; i < changes && !bytes.empty(); ++i) {
    const auto at = bytes.begin() + static_cast<ptrdiff_t>(random() % bytes.size());
    switch (random() % 4) {
      case 0:
        *at = static_cast<std::byte>(random());
        break;
      case 1:
        *at ^= static_cast<std::byte>(1u << (random() % 8));
        break;
      case 2:
        bytes.erase(at);
        break;
      default:
        bytes.insert(at, random() % 8, static_cast<std::byte>(random()));
    }
  }
  return bytes;
}

TEST(MessagesMutationTest, AStepThatIsTakenIsSafeToRun) {
  std::mt19937 random(1);
  std::vector<std::byte> bytes;
  EncodeStep(testing::FullStep(), &bytes);
  models::StepChecker checker({.vocab_size = 100,
                               .max_model_len = 64,
                               .num_blocks = 16,
                               .block_tokens = 4,
                               .window_tokens = 8,
                               .window_blocks = 16,
                               .max_tokens = 32,
                               .max_sequences = 4});
  ASSERT_TRUE(checker.Check(testing::FullStep()).ok());
  int taken = 0, passed = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const auto step = DecodeStep(Mutated(bytes, random), testing::kLimits);
    if (!step.ok()) continue;
    ++taken;
    if (checker.Check(*step).ok()) ++passed;
  }
  EXPECT_GT(taken, 100);
  EXPECT_GT(passed, 10);
}

TEST(MessagesMutationTest, NoMessageCrashesItsDecoder) {
  std::mt19937 random(2);
  std::vector<std::byte> assignment, result, error, hello;
  Encode(Assignment{.fingerprint = "fp",
                    .dtype = "float32",
                    .max_model_len = 1,
                    .max_batch_tokens = 1,
                    .max_batch_size = 1,
                    .parts = {{"a:1", {1, 2}}, {"b:2", {2, 3}}}},
         &assignment);
  EncodeResult({.output = {{{.token_id = 1, .top = {{1, 0.0f}}}, {.faulty = true}}}, .facts = {{3, 1, 2}}}, &result);
  Encode(Error{absl::InternalError("it broke"), "a:1"}, &error);
  Encode(Hello{.version = "1"}, &hello);
  for (int trial = 0; trial < kTrials; ++trial) {
    (void)DecodeAssignment(Mutated(assignment, random));
    (void)DecodeResult(Mutated(result, random), testing::kLimits);
    const auto back = DecodeError(Mutated(error, random));
    ASSERT_TRUE(!back.ok() || !back->status.ok());
    (void)DecodeHello(Mutated(hello, random));
  }
}

}  // namespace
}  // namespace hadal::pipeline
