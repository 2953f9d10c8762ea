// SPDX-License-Identifier: Apache-2.0
#include "server/service/api_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "server/request/refusal.h"
#include "tests/support/status_matchers.h"

namespace hadal::service {
namespace {

using request::Priority;
using request::Reason;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Caller CallerOf(const ApiKeys& keys, std::string_view key) {
  return keys.Authenticate("Bearer " + std::string(key), std::nullopt).value();
}

std::string ErrorOf(std::string_view text) {
  const absl::StatusOr<ApiKeys> keys = ApiKeys::Parse(text, "keys");
  EXPECT_EQ(keys.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(keys.status().message());
}

TEST(ApiKeysTest, ReadsTenantsAndClasses) {
  const absl::StatusOr<ApiKeys> keys = ApiKeys::Parse("one acme\n  two\tguests   low\r\n\n", "keys");
  ASSERT_OK(keys);
  EXPECT_EQ(CallerOf(*keys, "one").tenant, "acme");
  EXPECT_EQ(CallerOf(*keys, "one").max_priority, Priority::kHigh);
  EXPECT_EQ(CallerOf(*keys, "two").tenant, "guests");
  EXPECT_EQ(CallerOf(*keys, "two").max_priority, Priority::kLow);
}

TEST(ApiKeysTest, ACommentBeginsWithALineOrBehindASpace) {
  const absl::StatusOr<ApiKeys> keys =
      ApiKeys::Parse("# all keys\n  # more\none acme low # for tests\ntwo guests #x\n", "keys");
  ASSERT_OK(keys);
  EXPECT_EQ(CallerOf(*keys, "one").max_priority, Priority::kLow);
  EXPECT_EQ(CallerOf(*keys, "two").tenant, "guests");
}

TEST(ApiKeysTest, AHashInsideAWordIsPartOfIt) {
  const absl::StatusOr<ApiKeys> keys = ApiKeys::Parse("key1 team#7 low\nk#2 team batch\n", "keys");
  ASSERT_OK(keys);
  EXPECT_EQ(CallerOf(*keys, "key1").tenant, "team#7");
  EXPECT_EQ(CallerOf(*keys, "key1").max_priority, Priority::kLow);
  EXPECT_EQ(request::GetErrorDetail(keys->Authenticate("Bearer key1", Priority::kHigh).status()).reason,
            Reason::kPermissionDenied);
  EXPECT_EQ(CallerOf(*keys, "k#2").max_priority, Priority::kBatch);
  EXPECT_EQ(request::GetErrorDetail(keys->Authenticate("Bearer k", std::nullopt).status()).reason,
            Reason::kUnauthenticated);
}

TEST(ApiKeysTest, AKeyMayBelongToAGateway) {
  auto keys = ApiKeys::Parse("key1 acme gateway\nkey2 acme low gateway\nkey3 gateway\n", "keys");
  ASSERT_OK(keys);
  EXPECT_TRUE(CallerOf(*keys, "key1").gateway);
  EXPECT_EQ(CallerOf(*keys, "key1").max_priority, Priority::kHigh);
  EXPECT_TRUE(CallerOf(*keys, "key2").gateway);
  EXPECT_EQ(CallerOf(*keys, "key2").max_priority, Priority::kLow);
  EXPECT_FALSE(CallerOf(*keys, "key3").gateway) << "that is its tenant";
  EXPECT_THAT(ErrorOf("key acme gateway low\n"), HasSubstr("found 4 words"));
}

TEST(ApiKeysTest, AMalformedLineIsNamedAndKeysAreNot) {
  EXPECT_THAT(ErrorOf("one acme\nsecret\n"),
              AllOf(HasSubstr("keys:2: "), HasSubstr("found 1 words"), Not(HasSubstr("secret"))));
  EXPECT_THAT(ErrorOf("secret acme low extra\n"), AllOf(HasSubstr("keys:1: "), HasSubstr("found 4 words")));
  EXPECT_THAT(ErrorOf("secret acme low#\n"), AllOf(HasSubstr("keys:1: "), HasSubstr("unknown class 'low#'")));
  EXPECT_THAT(ErrorOf("secret acme urgent\n"), HasSubstr("known are high, normal, low, batch"));
  EXPECT_THAT(ErrorOf("secret acme\nsecret guests low\n"), AllOf(HasSubstr("keys:2: "), HasSubstr("earlier line")));
  EXPECT_THAT(ErrorOf("\xEF\xBB\xBFsecret acme\n"), AllOf(HasSubstr("keys:1: "), HasSubstr("not printable ASCII")));
  EXPECT_THAT(ErrorOf("# nothing\n"), HasSubstr("holds no key"));
}

TEST(ApiKeysTest, ASpaceThatSeparatesNothingHidesNoClass) {
  for (const char* line :
       {"secret team\u00a0low\n", "secret team\vlow\n", "secret team\flow\n", "secret team\u2003low\n",
        "secret team\u3000low\n", "secret team\u200blow\n", "secret \xff low\n"}) {
    EXPECT_THAT(ErrorOf(line), AllOf(HasSubstr("keys:1: "), HasSubstr("invisible"), Not(HasSubstr("secret")))) << line;
  }
  EXPECT_THAT(ErrorOf(std::string_view("secret team\0low\n", 16)), HasSubstr("invisible"));
  const absl::StatusOr<ApiKeys> keys = ApiKeys::Parse("one Müller-東京 low\n", "keys");
  ASSERT_OK(keys);
  EXPECT_EQ(CallerOf(*keys, "one").tenant, "Müller-東京");
}

TEST(ApiKeysTest, ReadsLimits) {
  const absl::StatusOr<ApiKeys> keys = ApiKeys::Parse(
      "one acme low requests=8 tokens-per-minute=60000 burst-tokens=9000 # pays for that\n"
      "two guests requests=1\n"
      "three free\n",
      "keys");
  ASSERT_OK(keys);
  EXPECT_EQ(CallerOf(*keys, "one").quota->limits(), (QuotaLimits{8, 60000, 9000}));
  EXPECT_EQ(CallerOf(*keys, "one").max_priority, Priority::kLow);
  EXPECT_EQ(CallerOf(*keys, "two").quota->limits(), (QuotaLimits{1, 0, 0}));
  EXPECT_EQ(CallerOf(*keys, "three").quota, nullptr);
}

TEST(ApiKeysTest, ALimitThatCannotBeReadEndsTheStart) {
  EXPECT_THAT(ErrorOf("secret acme tokens=5\n"), AllOf(HasSubstr("keys:1: unknown limit 'tokens'"),
                                                       HasSubstr("tokens-per-minute"), Not(HasSubstr("secret"))));
  EXPECT_THAT(ErrorOf("secret acme requests=0\n"), HasSubstr("expected a number from 1 to"));
  EXPECT_THAT(ErrorOf("secret acme requests=many\n"), HasSubstr("'requests=many'"));
  EXPECT_THAT(ErrorOf("secret acme requests=1 requests=2\n"), HasSubstr("given twice"));
  EXPECT_THAT(ErrorOf("secret acme requests=1 low\n"), HasSubstr("unknown limit 'low'"));
  EXPECT_THAT(ErrorOf("secret acme burst-tokens=5\n"), HasSubstr("without tokens-per-minute"));
}

TEST(ApiKeysTest, AKeyThatStaysKeepsWhatItUses) {
  ApiKeys keys = ApiKeys::Parse("one acme requests=2\n", "keys").value();
  const absl::Time now = absl::UnixEpoch();
  const absl::StatusOr<QuotaUse> first = CallerOf(keys, "one").quota->Begin(now, 0);
  ASSERT_OK(first);
  keys.Replace(ApiKeys::Parse("one acme requests=1\n", "keys").value());
  EXPECT_EQ(request::GetErrorDetail(CallerOf(keys, "one").quota->Begin(now, 0).status()).reason, Reason::kTenantQuota);
  keys.Replace(ApiKeys::Parse("one acme\n", "keys").value());
  EXPECT_OK(CallerOf(keys, "one").quota->Begin(now, 0));
}

}  // namespace
}  // namespace hadal::service
