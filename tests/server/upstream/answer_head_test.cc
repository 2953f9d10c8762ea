// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/answer_head.h"

#include "gtest/gtest.h"

namespace hadal::upstream {
namespace {

TransferHead Head(int status, Fields fields) { return {.status = status, .fields = std::move(fields)}; }

std::optional<absl::Duration> Rest(Fields fields) {
  return RestOf(Head(503, std::move(fields)), absl::FromUnixSeconds(1000),
                [](const char* text) { return std::string(text) == "a date" ? int64_t{1007} : int64_t{-1}; });
}

TEST(AnswerHeadTest, OnlySuccessesOfJsonOrEventsArePassedOn) {
  EXPECT_TRUE(IsPassedOn(Head(200, {{"content-type", "application/json"}})));
  EXPECT_TRUE(IsPassedOn(Head(200, {{"content-type", "Text/Event-Stream; charset=utf-8"}})));
  EXPECT_TRUE(IsPassedOn(Head(201, {{"content-type", "application/json"}, {"content-encoding", "identity"}})));
  EXPECT_FALSE(IsPassedOn(Head(200, {{"content-type", "text/html"}}))) << "the page of a proxy";
  EXPECT_FALSE(IsPassedOn(Head(200, {})));
  EXPECT_FALSE(IsPassedOn(Head(200, {{"content-type", "application/json"}, {"content-encoding", "gzip"}})));
  for (const int status : {301, 400, 401, 404, 429, 500, 503}) {
    EXPECT_FALSE(IsPassedOn(Head(status, {{"content-type", "application/json"}}))) << status;
  }
}

TEST(AnswerHeadTest, FieldsOfTheUpstreamsAccountAndConnectionStayHere) {
  const TransferHead head = Head(200, {{"content-type", "application/json"},
                                       {"set-cookie", "session=1"},
                                       {"connection", "keep-alive"},
                                       {"transfer-encoding", "chunked"},
                                       {"x-ratelimit-remaining-requests", "7"},
                                       {"openai-organization", "acme"},
                                       {"x-hadal-grammar", "partial"}});
  EXPECT_EQ(PassedFields(head), (Fields{{"x-hadal-grammar", "partial"}}));
}

TEST(AnswerHeadTest, ReadsHowLongTheUpstreamWantsToBeLeftAlone) {
  EXPECT_EQ(Rest({}), std::nullopt);
  EXPECT_EQ(Rest({{"retry-after", "3"}}), absl::Seconds(3));
  EXPECT_EQ(Rest({{"retry-after", "3"}, {"retry-after-ms", "2400"}}), absl::Milliseconds(2400)) << "the finer one";
  EXPECT_EQ(Rest({{"retry-after", "a date"}}), absl::Seconds(7));
  EXPECT_EQ(Rest({{"retry-after", "soon"}}), std::nullopt);
  EXPECT_EQ(Rest({{"retry-after", "-3"}}), std::nullopt);
}

}  // namespace
}  // namespace hadal::upstream
