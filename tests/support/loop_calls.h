// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/loop_fixture.h"

namespace hadal::testing {

// Requests and what has been received of each.
class Calls {
 public:
  static constexpr int32_t kPrompt = 4;

  explicit Calls(LoopFixture& fixture) : f_(fixture) {}

  size_t Submit(request::Priority priority, int32_t output, int32_t choices = 1, int32_t prompt_tokens = kPrompt) {
    auto prompt = LoopFixture::Prompt(prompt_tokens, static_cast<int32_t>(calls_.size()));
    auto request = LoopFixture::MakeRequest(prompt, output, priority);
    request->n = choices;
    calls_.push_back({prompt, output, f_.Submit(std::move(request)), {}});
    return calls_.size() - 1;
  }
  // How long a step of so many tokens takes.
  std::function<absl::Duration(int32_t)> step_time = [](int32_t) { return absl::Milliseconds(10); };
  void Rounds(int count) {
    for (int i = 0; i < count; ++i) {
      f_.Round();
      f_.admission.clock.Advance(step_time(f_.model.shapes().empty() ? 0 : f_.model.shapes().back().tokens));
      for (Call& call : calls_) {
        if (!call.got.closed) call.got.Read(*call.stream);
      }
    }
  }
  // Rounds until it is closed; how many.
  int RoundsUntilClosed(size_t index) {
    for (int rounds = 0; rounds < 10000; ++rounds) {
      if (calls_[index].got.closed) return rounds;
      Rounds(1);
    }
    ADD_FAILURE() << "request " << index << " does not end";
    return 0;
  }
  void FinishAll() {
    for (size_t i = 0; i < calls_.size(); ++i) RoundsUntilClosed(i);
  }
  void ExpectRight(size_t index) const {
    const Call& call = calls_[index];
    EXPECT_OK(call.got.status);
    ASSERT_FALSE(call.got.tokens.empty());
    for (const auto& [choice, tokens] : call.got.tokens) {
      EXPECT_EQ(tokens, f_.Expected(call.prompt, call.output)) << "choice " << choice << " of request " << index;
    }
  }
  void ExpectAllRight() const {
    for (size_t i = 0; i < calls_.size(); ++i) ExpectRight(i);
  }
  size_t size() const { return calls_.size(); }
  request::TokenStream& stream(size_t index) { return *calls_[index].stream; }
  const Received& got(size_t index) const { return calls_[index].got; }
  size_t produced(size_t index) const {
    const auto found = got(index).tokens.find(0);
    return found == got(index).tokens.end() ? 0 : found->second.size();
  }

 private:
  struct Call {
    std::vector<int32_t> prompt;
    int32_t output;
    std::shared_ptr<request::TokenStream> stream;
    Received got;
  };
  LoopFixture& f_;
  std::vector<Call> calls_;
};

// Counts the rows that rest, too.
class RestObserver : public CountingObserver {
 public:
  // Instead of the fixture's observer, before anything runs.
  explicit RestObserver(LoopFixture& f) {
    f.loop.reset();
    f.options.observer = this;
    f.loop =
        std::make_unique<engine::StepLoop>(f.options, &f.model, f.admission.controller.get(), 0, f.wake, f.published);
  }
  void OnRested(int32_t rows) override { rested += rows; }

  int64_t rested = 0;
};

}  // namespace hadal::testing
