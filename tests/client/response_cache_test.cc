// SPDX-License-Identifier: Apache-2.0
#include "client/response_cache.h"

#include <google/protobuf/message.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/support/temp_folder.h"

namespace hadal::client {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

const absl::Time kNow = absl::FromUnixSeconds(1000);

// Another value than the one that is there.
void Change(Message* message, const FieldDescriptor* field) {
  const auto* reflection = message->GetReflection();
  const bool many = field->is_repeated();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING: {
      const std::string value = many ? "x" : reflection->GetString(*message, field) + "x";
      return many ? reflection->AddString(message, field, value) : reflection->SetString(message, field, value);
    }
    case FieldDescriptor::CPPTYPE_INT32:
      if (many) return reflection->AddInt32(message, field, 7);
      return reflection->SetInt32(message, field, reflection->GetInt32(*message, field) + 7);
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection->SetUInt64(message, field, reflection->GetUInt64(*message, field) + 7);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return reflection->SetFloat(message, field, reflection->GetFloat(*message, field) + 0.5f);
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->SetBool(message, field, !reflection->GetBool(*message, field));
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection->SetEnumValue(message, field, reflection->GetEnumValue(*message, field) + 1);
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      Message* const inner = many ? reflection->AddMessage(message, field) : reflection->MutableMessage(message, field);
      return Change(inner, inner->GetDescriptor()->field(0));
    }
    default:
      FAIL() << field->full_name();
  }
}

// Each field, and each of the messages inside, decides the key: those that come to the API, too.
template <typename Request>
void ExpectEveryFieldCounts(const Request& base) {
  std::map<std::string, std::string> named = {{*AnswerKey("me", base), "the request"}};
  const auto expect_new = [&](const Request& changed, const std::string& name) {
    const std::optional<std::string> key = AnswerKey("me", changed);
    if (name == "priority") {
      EXPECT_EQ(key, AnswerKey("me", base)) << "it decides when";
    } else if (name == "reasoning_control") {
      EXPECT_EQ(key, std::nullopt) << "somebody may end it meanwhile";
    } else {
      ASSERT_TRUE(key.has_value()) << name;
      EXPECT_TRUE(named.emplace(*key, name).second) << name << " is taken for " << named[*key];
    }
  };
  const auto* descriptor = base.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* const field = descriptor->field(i);
    Request changed = base;
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field->is_repeated()) {
      for (int j = 0; j < field->message_type()->field_count(); ++j) {
        changed = base;
        Change(changed.GetReflection()->MutableMessage(&changed, field), field->message_type()->field(j));
        expect_new(changed, field->name() + "." + field->message_type()->field(j)->name());
      }
    } else {
      Change(&changed, field);
      expect_new(changed, field->name());
    }
  }
  EXPECT_NE(AnswerKey("me", base), AnswerKey("you", base));
}

TEST(AnswerKeyTest, EveryFieldCounts) {
  v1::ChatRequest chat;
  chat.mutable_sampling()->set_seed(1);
  chat.add_messages()->set_content("x");
  ExpectEveryFieldCounts(chat);
  v1::GenerateRequest completion;
  completion.mutable_sampling()->set_seed(1);
  completion.set_text("x");
  ExpectEveryFieldCounts(completion);
}

TEST(AnswerKeyTest, OnlyWhatIsDeterminedHasOne) {
  v1::GenerateRequest request;
  EXPECT_EQ(AnswerKey("", request), std::nullopt) << "the checkpoint may say any temperature";
  request.mutable_sampling()->set_temperature(0.5);
  EXPECT_EQ(AnswerKey("", request), std::nullopt);
  request.mutable_sampling()->set_temperature(0);
  EXPECT_TRUE(AnswerKey("", request).has_value());
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_seed(0);
  EXPECT_TRUE(AnswerKey("", request).has_value());
  // Maps have no order.
  std::optional<std::string> first;
  for (const bool up : {true, false}) {
    request.mutable_sampling()->clear_logit_bias();
    for (int i = 0; i < 100; ++i) (*request.mutable_sampling()->mutable_logit_bias())[up ? i : 99 - i] = 1;
    if (up) first = AnswerKey("", request);
  }
  EXPECT_EQ(AnswerKey("", request), first);
  // Parts do not run into each other.
  EXPECT_NE(AnswerKey("a", request), AnswerKey("", request));
}

GenerationResult Whole() {
  GenerationResult result;
  result.request_id = "r";
  result.text = "42";
  result.reasoning = "hm";
  result.finish_reason = "stop";
  result.prompt_tokens = 1;
  result.completion_tokens = 2;
  result.reasoning_tokens = 3;
  result.cached_prompt_tokens = 4;
  result.tool_calls = {{"call-0", "f", "{}"}};
  result.other_choices.resize(2);
  result.other_choices[0].text = "43";
  result.other_choices[0].finish_reason = "length";
  result.other_choices[1].tool_calls = {{"call-1", "g", "[]"}};
  result.other_choices[1].finish_reason = "tool_calls";
  return result;
}

void ExpectWhole(const std::optional<GenerationResult>& found) {
  ASSERT_TRUE(found.has_value());
  const GenerationResult whole = Whole();
  EXPECT_TRUE(found->from_cache);
  EXPECT_EQ(found->request_id, whole.request_id);
  EXPECT_EQ(found->text, whole.text);
  EXPECT_EQ(found->reasoning, whole.reasoning);
  EXPECT_EQ(found->finish_reason, whole.finish_reason);
  EXPECT_EQ(found->prompt_tokens, 1);
  EXPECT_EQ(found->completion_tokens, 2);
  EXPECT_EQ(found->reasoning_tokens, 3);
  EXPECT_EQ(found->cached_prompt_tokens, 4);
  ASSERT_EQ(found->tool_calls.size(), 1u);
  EXPECT_EQ(found->tool_calls[0].name, "f");
  ASSERT_EQ(found->other_choices.size(), 2u);
  EXPECT_EQ(found->other_choices[0].text, "43");
  ASSERT_EQ(found->other_choices[1].tool_calls.size(), 1u);
  EXPECT_EQ(found->other_choices[1].tool_calls[0].arguments, "[]");
  EXPECT_EQ(found->other_choices[1].finish_reason, "tool_calls");
}

TEST(ResponseCacheTest, KeepsAllOfAnAnswerInMemoryAndOnDisk) {
  hadal::testing::TempFolder temp;
  const std::string key(64, 'a');
  const CacheOptions both = {.memory_bytes = 100'000, .folder = std::string(temp.path()), .ttl = absl::Minutes(1)};
  {
    const auto cache = *ResponseCache::Open(both);
    EXPECT_EQ(cache->Find(key, kNow), std::nullopt);
    cache->Add(key, Whole(), kNow);
    ExpectWhole(cache->Find(key, kNow));
  }
  const auto next = *ResponseCache::Open(both);
  ExpectWhole(next->Find(key, kNow));
  ExpectWhole(next->Find(key, kNow + absl::Seconds(59)));  // from memory now, no longer than on disk
  EXPECT_EQ(next->Find(key, kNow + absl::Seconds(60)), std::nullopt);
}

TEST(ResponseCacheTest, KeepsWhatHasEndedAlone) {
  const auto cache = *ResponseCache::Open({.memory_bytes = 100'000});
  for (const char* reason : {"", "insufficient_system_resource"}) {
    GenerationResult cut = Whole();
    cut.finish_reason = reason;
    cache->Add("k", cut, kNow);
    EXPECT_EQ(cache->Find("k", kNow), std::nullopt) << reason;
    GenerationResult other = Whole();
    other.other_choices.push_back({.finish_reason = reason});
    cache->Add("k", other, kNow);
    EXPECT_EQ(cache->Find("k", kNow), std::nullopt) << "the second choice: " << reason;
  }
  GenerationResult degraded = Whole();
  degraded.degraded = "max_tokens";
  cache->Add("k", degraded, kNow);
  EXPECT_EQ(cache->Find("k", kNow), std::nullopt) << "the next one may get what it asks for";
}

TEST(ResponseCacheTest, NamesOptionsThatCannotBe) {
  for (const CacheOptions& options :
       {CacheOptions{.memory_bytes = -1}, CacheOptions{.memory_bytes = 1, .ttl = absl::ZeroDuration()}}) {
    EXPECT_EQ(ResponseCache::Open(options).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(CacheOptions().on());
}

}  // namespace
}  // namespace hadal::client
