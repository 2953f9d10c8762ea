// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/response_cache.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/response_cache/fake_store.h"
#include "tests/support/status_matchers.h"

namespace hadal::response_cache {
namespace {

using Mode = CacheControl::Mode;
using request::Priority;
using ::testing::HasSubstr;
using ::testing::Not;

const CacheKey kKey(32, 'k');
constexpr int32_t kCapacity = 16;

struct Fixture {
  explicit Fixture(ResponseCacheOptions options = {.levels = "memory"}) {
    cache = *ResponseCache::Create(
        {.cache = options, .metrics = &response_cache_metrics, .wall_time = [this] { return now; }});
  }
  std::shared_ptr<Lookup> Ask(Mode mode = Mode::kUse, absl::Duration max_age = absl::InfiniteDuration()) {
    return cache->Open(kKey, {mode, max_age});
  }
  // Runs a request to its end.
  void Run(Mode mode = Mode::kUse, int32_t token = 5) {
    const ResponseCache::Leadership led = cache->Lead(*Ask(mode), {}, kCapacity);
    ASSERT_NE(led.output, nullptr);
    End(*led.output, token);
    EXPECT_TRUE(led.answer.reader->Read().closed);
  }
  static void End(SharedOutput& output, int32_t token = 5) {
    output.stream()->PushToken({.choice = 0, .token_id = token});
    output.stream()->EndChoice({.choice = 0, .reason = request::FinishReason::kStop});
    output.stream()->Close(absl::OkStatus(), {});
  }
  bool Exposes(const std::string& line) { return metrics.Expose().find(line + "\n") != std::string::npos; }

  base::MetricRegistry metrics;
  ResponseCacheMetrics response_cache_metrics{&metrics};
  absl::Time now = absl::FromUnixSeconds(1000);
  std::unique_ptr<ResponseCache> cache;
};

TEST(ResponseCacheTest, WhatHasRunIsThereForTheNext) {
  Fixture fixture;
  EXPECT_FALSE(fixture.cache->Find(*fixture.Ask(), {}).has_value());
  fixture.Run();
  const auto answer = fixture.cache->Find(*fixture.Ask(), {});
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->result, CacheResult::kHit);
  EXPECT_EQ(answer->reader->Read().tokens.at(0).token_id, 5);
  EXPECT_TRUE(fixture.Exposes("hadal_response_cache_lookups_total{result=\"hit_memory\"} 1"));
  EXPECT_TRUE(fixture.Exposes("hadal_response_cache_lookups_total{result=\"miss\"} 1"));
  EXPECT_TRUE(fixture.Exposes("hadal_response_cache_entries 1"));
}

TEST(ResponseCacheTest, ARefreshRunsAndReplacesWhatWasThere) {
  Fixture fixture;
  fixture.Run();
  EXPECT_FALSE(fixture.cache->Find(*fixture.Ask(Mode::kRefresh), {}).has_value());
  fixture.Run(Mode::kRefresh, 6);
  EXPECT_EQ(fixture.cache->Find(*fixture.Ask(), {})->reader->Read().tokens.at(0).token_id, 6);
}

TEST(ResponseCacheTest, AnswersGetOld) {
  Fixture fixture({.levels = "memory", .ttl = absl::Minutes(1)});
  fixture.Run();
  fixture.now += absl::Seconds(30);
  EXPECT_FALSE(fixture.cache->Find(*fixture.Ask(Mode::kUse, absl::Seconds(29)), {}).has_value());
  EXPECT_TRUE(fixture.cache->Find(*fixture.Ask(Mode::kUse, absl::Seconds(30)), {}).has_value());
  fixture.now += absl::Seconds(30);
  EXPECT_FALSE(fixture.cache->Find(*fixture.Ask(), {}).has_value());
}

TEST(ResponseCacheTest, EqualRequestsRunOnce) {
  Fixture fixture;
  const auto led = fixture.cache->Lead(*fixture.Ask(), {}, kCapacity);
  const auto found = fixture.cache->Find(*fixture.Ask(), {});
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->result, CacheResult::kCoalesced);
  const auto raced = fixture.cache->Lead(*fixture.Ask(), {}, kCapacity);
  EXPECT_EQ(raced.output, nullptr);
  EXPECT_EQ(raced.answer.result, CacheResult::kCoalesced);
  Fixture::End(*led.output);
  EXPECT_EQ(found->reader->Read().tokens.size(), 1u);
  EXPECT_EQ(raced.answer.reader->Read().tokens.size(), 1u);
  EXPECT_EQ(fixture.cache->Find(*fixture.Ask(), {})->result, CacheResult::kHit);
  EXPECT_TRUE(fixture.Exposes("hadal_response_cache_lookups_total{result=\"coalesced\"} 2"));
}

TEST(ResponseCacheTest, OnlyOneThatWaitsNoLongerIsJoined) {
  Fixture fixture;
  const auto led = fixture.cache->Lead(*fixture.Ask(), {.priority = Priority::kLow}, kCapacity);
  EXPECT_FALSE(fixture.cache->Find(*fixture.Ask(), {.priority = Priority::kHigh}).has_value());
  EXPECT_TRUE(fixture.cache->Find(*fixture.Ask(), {.priority = Priority::kBatch}).has_value());
  EXPECT_FALSE(fixture.cache->Find(*fixture.Ask(), {.priority = Priority::kLow, .may_wait = false}).has_value());
  EXPECT_FALSE(fixture.cache->Find(*fixture.Ask(Mode::kRefresh), {.priority = Priority::kLow}).has_value());
  const auto urgent = fixture.cache->Lead(*fixture.Ask(), {.priority = Priority::kHigh}, kCapacity);
  EXPECT_NE(urgent.output, nullptr);
  EXPECT_TRUE(fixture.cache->Find(*fixture.Ask(), {.priority = Priority::kHigh}).has_value());
}

TEST(ResponseCacheTest, WhatFailedIsRunAgain) {
  Fixture fixture;
  {
    const auto led = fixture.cache->Lead(*fixture.Ask(), {}, kCapacity);
    led.output->Fail(request::MakeError(request::Reason::kInternal, "no"));
    EXPECT_FALSE(led.answer.reader->Read().status.ok());
  }
  EXPECT_FALSE(fixture.cache->Find(*fixture.Ask(), {}).has_value());
  EXPECT_NE(fixture.cache->Lead(*fixture.Ask(), {}, kCapacity).output, nullptr);
}

struct TwoLevels {
  explicit TwoLevels(std::shared_ptr<FakeStore::State> store) {
    cache = *ResponseCache::Create({.cache = {.levels = "memory", .lookup_timeout = absl::Seconds(1)},
                                    .metrics = &metrics,
                                    .wall_time = [this] { return now; },
                                    .store = std::make_unique<FakeStore>(std::move(store))});
  }
  void Run() {
    const auto led = cache->Lead(*cache->Open(kKey, {Mode::kRefresh}), {}, kCapacity);
    Fixture::End(*led.output);
    EXPECT_TRUE(led.answer.reader->Read().closed);
    for (int i = 0; i < 20000 && metrics.store_writes.Get().Value() == 0; ++i) absl::SleepFor(absl::Milliseconds(1));
  }
  std::optional<ResponseCache::Answer> Find() { return cache->Find(*cache->Open(kKey, {Mode::kUse}), {}); }
  uint64_t lookups(ResponseCacheMetrics::Lookup result) { return metrics.lookups.At(result).Value(); }

  ResponseCacheMetrics metrics{nullptr};
  absl::Time now = absl::FromUnixSeconds(1000);
  std::unique_ptr<ResponseCache> cache;
};

TEST(ResponseCacheTest, AnotherProcessFindsInTheStoreWhatThisOneHasRun) {
  const auto store = std::make_shared<FakeStore::State>();
  TwoLevels first(store), second(store);
  EXPECT_FALSE(second.Find().has_value());
  first.Run();
  const auto found = second.Find();
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->result, CacheResult::kHit);
  EXPECT_EQ(found->reader->Read().tokens.at(0).token_id, 5);
  EXPECT_EQ(second.lookups(ResponseCacheMetrics::kHitSqlite), 1u) << "which stands for every store but Redis";
  const int asked = store->asked;
  EXPECT_TRUE(second.Find().has_value());
  EXPECT_EQ(second.lookups(ResponseCacheMetrics::kHitMemory), 1u);
  EXPECT_EQ(store->asked, asked);
  TwoLevels late(store);
  late.now += absl::Hours(1);
  EXPECT_FALSE(late.Find().has_value()) << "it is as old there as here";
}

TEST(ResponseCacheTest, WhatIsDamagedInTheStoreIsAMissAndCounted) {
  const auto store = std::make_shared<FakeStore::State>();
  {
    base::MutexLock lock(&store->mutex);
    store->entries[kKey] = "not ours";
  }
  TwoLevels levels(store);
  EXPECT_FALSE(levels.Find().has_value());
  EXPECT_EQ(levels.metrics.store_errors.At(ResponseCacheMetrics::kCorrupt).Value(), 1u);
  levels.Run();
  EXPECT_TRUE(TwoLevels(store).Find().has_value()) << "a run has mended it";
}

TEST(ResponseCacheTest, TheLadderRecordsForItselfAlone) {
  const auto cache = *ResponseCache::Create({.ladder_bytes = 1 << 16});
  EXPECT_FALSE(cache->enabled());
  const auto output = cache->Record(kKey, Priority::kNormal, kCapacity);
  EXPECT_FALSE(output->keeps_limits());
  const auto reader = output->Attach({}, /*leader=*/true);
  Fixture::End(*output);
  EXPECT_TRUE(reader->Read().closed);
  ASSERT_TRUE(cache->FindRecorded(kKey).has_value());
  EXPECT_EQ(cache->FindRecorded(kKey)->tokens.at(0).token_id, 5);
}

TEST(ResponseCacheTest, OptionsThatMakeNoSenseAreNamed) {
  const auto refused = [](ResponseCacheOptions options) {
    return std::string(ResponseCache::Create({.cache = options}).status().message());
  };
  EXPECT_THAT(refused({.levels = "disk"}), HasSubstr("--response-cache is 'disk'"));
  for (const char* levels : {"memory,", "memory,disk:/x", "sqlite:/x", "memory,sqlite:"}) {
    EXPECT_THAT(refused({.levels = levels}), HasSubstr("memory,sqlite:PATH")) << levels;
  }
  EXPECT_THAT(refused({.levels = "memory,http://me:secret@h"}), Not(HasSubstr("secret")));
  EXPECT_THAT(refused({.levels = "memory,redis://h:0"}), HasSubstr("--response-cache: the Redis URL has a port"));
  EXPECT_THAT(refused({.levels = "memory,redis://h", .redis = {.password_file = "/missing"}}),
              HasSubstr("--response-cache-redis-password-file: "));
  EXPECT_THAT(refused({.levels = "memory,sqlite:/missing/a.db"}), HasSubstr("--response-cache: /missing/a.db"));
  EXPECT_THAT(refused({.levels = "memory,sqlite:/x", .disk_bytes = 5}), HasSubstr("--response-cache-disk-size is 5"));
  EXPECT_THAT(refused({.levels = "memory", .lookup_timeout = absl::ZeroDuration()}),
              HasSubstr("--response-cache-lookup-timeout is 0"));
  EXPECT_THAT(refused({.levels = "memory", .memory_bytes = 0}), HasSubstr("--response-cache-size is 0"));
  EXPECT_THAT(refused({.levels = "memory", .ttl = -absl::Seconds(1)}), HasSubstr("--response-cache-ttl is -1s"));
}

}  // namespace
}  // namespace hadal::response_cache
