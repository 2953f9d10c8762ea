// SPDX-License-Identifier: Apache-2.0
#include "server/service/trace_context.h"

#include <gtest/gtest.h>

#include <string>

namespace hadal::service {
namespace {

constexpr char kTraceId[] = "0af7651916cd43dd8448eb211c80319c";
constexpr char kParentId[] = "b7ad6b7169203331";

std::string Parent(const std::string& version, const std::string& rest) {
  return version + "-" + kTraceId + "-" + kParentId + rest;
}

TEST(TraceContextTest, ReadsWhatTheStandardShows) {
  const TraceContext context = ParseTraceContext(Parent("00", "-01"), "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7");
  EXPECT_EQ(context.trace_id, kTraceId);
  EXPECT_EQ(context.parent_id, kParentId);
  EXPECT_TRUE(context.sampled);
  EXPECT_EQ(context.state, "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7");
}

TEST(TraceContextTest, OnlyTheLastBitOfTheFlagsSaysSampled) {
  EXPECT_FALSE(ParseTraceContext(Parent("00", "-00"), "").sampled);
  EXPECT_FALSE(ParseTraceContext(Parent("00", "-02"), "").sampled);
  EXPECT_TRUE(ParseTraceContext(Parent("00", "-0b"), "").sampled);
}

TEST(TraceContextTest, ALaterVersionMaySayMore) {
  EXPECT_EQ(ParseTraceContext(Parent("01", "-01-what comes"), "").trace_id, kTraceId);
  EXPECT_EQ(ParseTraceContext(Parent("01", "-01"), "").trace_id, kTraceId);
}

TEST(TraceContextTest, WhatBreaksTheStandardIsNoTrace) {
  for (const std::string& broken : {
           std::string(),
           Parent("00", ""),
           Parent("00", "-1"),
           Parent("00", "-01-more"),
           Parent("01", "-01more"),
           Parent("ff", "-01"),
           Parent("0", "0-01"),
           Parent("00", "_01"),
           std::string("00-00000000000000000000000000000000-b7ad6b7169203331-01"),
           std::string("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"),
           std::string("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"),
           std::string("00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01"),
           std::string(55, '-'),
       }) {
    EXPECT_EQ(ParseTraceContext(broken, "a=b").trace_id, "") << broken;
    EXPECT_EQ(ParseTraceContext(broken, "a=b").state, "") << "a state belongs to a trace: " << broken;
  }
}

TEST(TraceContextTest, AStateThatIsTooLongOrNoTextIsLeftOut) {
  EXPECT_EQ(ParseTraceContext(Parent("00", "-01"), std::string(513, 'a')).state, "");
  EXPECT_EQ(ParseTraceContext(Parent("00", "-01"), std::string(512, 'a')).state.size(), 512u);
  EXPECT_EQ(ParseTraceContext(Parent("00", "-01"), "a=\x7f").state, "");
  EXPECT_EQ(ParseTraceContext(Parent("00", "-01"), "a=\n").trace_id, kTraceId);
}

TEST(TraceContextTest, AResponseNamesTheSpanOfATracedRequest) {
  TraceContext context = ParseTraceContext(Parent("00", "-01"), "a=b");
  EXPECT_EQ(TraceResponse(context), "");
  context.span_id = "00f067aa0ba902b7";
  EXPECT_EQ(TraceResponse(context), "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01");
}

}  // namespace
}  // namespace hadal::service
