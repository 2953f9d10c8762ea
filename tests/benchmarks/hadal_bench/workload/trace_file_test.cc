// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/workload/trace_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hadal::bench {
namespace {

TEST(TraceFileTest, ReadsAzureCsv) {
  const auto trace = ParseTrace(
      "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 "
      "18:15:50.9951690,396,109\n",
      "azure.csv");
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->size(), 2u);
  EXPECT_EQ((*trace)[0].prompt_tokens, 374);
  EXPECT_DOUBLE_EQ((*trace)[0].at_s, 0);
  EXPECT_NEAR((*trace)[1].at_s, 4.314579, 1e-5);
  EXPECT_EQ((*trace)[1].output_tokens, 109);
}

TEST(TraceFileTest, FindsTheColumnsByTheirNames) {
  for (const char* text :
       {"\xef\xbb\xbfTimestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\r\n"
        "5,ChatGPT,472,18,490,Conversation log\r\n45.5,GPT-4,1087,0,1087,API log\r\n",
        "{\"Timestamp\": 5, \"Model\": \"ChatGPT\", \"Request tokens\": 472, \"Response tokens\": 18}\n"
        "{\"Timestamp\": 45.5, \"Request tokens\": 1087, \"Response tokens\": 0}\n",
        "{\"TIMESTAMP\": \"2023-11-16 18:15:00\", \"ContextTokens\": 472, \"GeneratedTokens\": 18}\n"
        "{\"TIMESTAMP\": \"2023-11-16 18:15:40.5\", \"ContextTokens\": 1087, \"GeneratedTokens\": 1}\n"}) {
    const auto trace = ParseTrace(text, "burst");
    ASSERT_TRUE(trace.ok()) << trace.status();
    ASSERT_EQ(trace->size(), 2u);
    EXPECT_EQ((*trace)[0].prompt_tokens, 472);
    EXPECT_EQ((*trace)[0].output_tokens, 18);
    EXPECT_DOUBLE_EQ((*trace)[1].at_s, 40.5);
    EXPECT_EQ((*trace)[1].prompt_tokens, 1087);
    EXPECT_EQ((*trace)[1].output_tokens, 1);
  }
}

TEST(TraceFileTest, ReadsMooncakeJsonLines) {
  const auto trace = ParseTrace(
      "{\"timestamp\": 1500, \"input_length\": 20, \"output_length\": 0, \"hash_ids\": [46, 47]}\n"
      "{\"timestamp\": 500, \"input_length\": 6955, \"output_length\": 52, \"hash_ids\": [46]}\n",
      "mooncake.jsonl");
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->size(), 2u);
  EXPECT_EQ((*trace)[0].prompt_tokens, 6955);  // sorted by time
  EXPECT_DOUBLE_EQ((*trace)[1].at_s, 1);
  EXPECT_EQ((*trace)[1].output_tokens, 1);  // nobody can ask for no token
  EXPECT_THAT((*trace)[1].prefix_blocks, testing::ElementsAre(46, 47));
}

TEST(TraceFileTest, NamesTheLineThatItCannotRead) {
  const auto csv = ParseTrace("TIMESTAMP,ContextTokens,GeneratedTokens\n1,2,3\nnonsense\n", "a.csv");
  EXPECT_THAT(std::string(csv.status().message()), testing::StartsWith("a.csv:3: expected"));
  const auto json = ParseTrace("{\"timestamp\": 1}\n", "b.jsonl");
  EXPECT_THAT(std::string(json.status().message()), testing::StartsWith("b.jsonl:1: expected"));
  EXPECT_THAT(std::string(ParseTrace("a,b,c\n", "c.csv").status().message()), testing::HasSubstr("holds no requests"));
  EXPECT_FALSE(ReadTrace("/nonexistent/trace.csv").ok());
}

}  // namespace
}  // namespace hadal::bench
