// SPDX-License-Identifier: Apache-2.0
#include "server/relay/passed_fields.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::relay {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

TEST(PassedFieldsTest, OnlyWhatIsThereAndTheTraceWithTheServersOwnSpan) {
  service::TraceContext trace;
  EXPECT_THAT(FieldsOf(trace, {{"a", "1"}, {"b", ""}}), ElementsAre(Pair("a", "1")));
  trace.trace_id = "11111111111111111111111111111111";
  trace.parent_id = "2222222222222222";
  EXPECT_THAT(FieldsOf(trace, {}),
              ElementsAre(Pair("traceparent", "00-11111111111111111111111111111111-2222222222222222-00")));
  trace.span_id = "3333333333333333";
  trace.sampled = true;
  trace.state = "k=v";
  EXPECT_THAT(FieldsOf(trace, {}),
              ElementsAre(Pair("traceparent", "00-11111111111111111111111111111111-3333333333333333-01"),
                          Pair("tracestate", "k=v")));
}

}  // namespace
}  // namespace hadal::relay
