// SPDX-License-Identifier: Apache-2.0
#include "server/service/thinking_control.h"

#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/request/refusal.h"
#include "tests/support/status_matchers.h"

namespace hadal::service {
namespace {

using request::Reason;

std::shared_ptr<ThinkingSwitch> Thinking() {
  auto control = std::make_shared<ThinkingSwitch>();
  control->thinking = true;
  return control;
}

TEST(ThinkingControlTest, EndsTheReasoningOfARunningCall) {
  ThinkingControls controls;
  const auto one = Thinking(), other = Thinking();
  const auto first = controls.Add("a", "acme", one);
  const auto second = controls.Add("b", "acme", other);
  EXPECT_OK(controls.End("a", "acme"));
  EXPECT_TRUE(one->end_now);
  EXPECT_FALSE(other->end_now);
}

TEST(ThinkingControlTest, OtherTenantsAndEndedCallsAreNotFound) {
  ThinkingControls controls;
  const auto control = Thinking();
  std::optional<ThinkingControls::Registration> registration = controls.Add("a", "acme", control);
  EXPECT_REASON(controls.End("a", "other"), Reason::kRequestNotFound);
  EXPECT_REASON(controls.End("a", ""), Reason::kRequestNotFound);
  EXPECT_REASON(controls.End("ab", "acme"), Reason::kRequestNotFound);
  EXPECT_FALSE(control->end_now);
  // It may be moved as often as one likes.
  ThinkingControls::Registration moved = *std::move(registration);
  registration.reset();
  EXPECT_OK(controls.End("a", "acme"));
  moved = {};
  EXPECT_REASON(controls.End("a", "acme"), Reason::kRequestNotFound);
}

TEST(ThinkingControlTest, WhatDoesNotReasonHasNothingToEnd) {
  ThinkingControls controls;
  const auto control = Thinking();
  const auto registration = controls.Add("a", "", control);
  control->thinking = false;
  EXPECT_REASON(controls.End("a", ""), Reason::kNotThinking);
  EXPECT_FALSE(control->end_now);
}

TEST(ThinkingControlTest, CallsThatShareAnIdEndTogether) {
  ThinkingControls controls;
  const auto answering = std::make_shared<ThinkingSwitch>();
  const auto one = Thinking(), two = Thinking(), foreign = Thinking();
  std::vector<ThinkingControls::Registration> registrations;
  for (const auto& control : {answering, one, two}) registrations.push_back(controls.Add("a", "acme", control));
  registrations.push_back(controls.Add("a", "other", foreign));
  EXPECT_OK(controls.End("a", "acme"));
  EXPECT_TRUE(one->end_now && two->end_now);
  EXPECT_FALSE(answering->end_now || foreign->end_now);
}

TEST(ThinkingControlTest, CallsMayOutliveIt) {
  auto controls = std::make_unique<ThinkingControls>();
  const auto registration = controls->Add("a", "", Thinking());
  controls.reset();
}

TEST(ThinkingControlTest, CallsComeAndGoWhileOthersAsk) {
  ThinkingControls controls;
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 2000; ++round) {
        const auto control = Thinking();
        const auto registration = controls.Add("a", "", control);
        EXPECT_OK(controls.End("a", ""));
        EXPECT_TRUE(control->end_now);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_REASON(controls.End("a", ""), Reason::kRequestNotFound);
}

}  // namespace
}  // namespace hadal::service
