// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/second_level.h"

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/server/response_cache/fake_store.h"

namespace hadal::response_cache {
namespace {

using Error = ResponseCacheMetrics::StoreError;

struct Fixture {
  explicit Fixture(SecondLevel::Options options = {}) {
    level = std::make_unique<SecondLevel>(options, std::make_unique<FakeStore>(store), &timer, &metrics);
  }
  ~Fixture() {
    store->hangs = false;
    store->go_on.Notify();
  }
  // What is there for the key, within the time-out.
  std::string Find(const CacheKey& key) {
    auto lookup = std::make_shared<Lookup>(key, CacheControl{CacheControl::Mode::kUse});
    level->Find(lookup);
    const Lookup::Entry entry = lookup->Wait();
    return entry == nullptr ? "" : *entry;
  }
  void Put(const CacheKey& key, std::string text) {
    level->Put(key, std::make_shared<const std::string>(std::move(text)));
  }
  uint64_t errors(Error error) { return metrics.store_errors.At(error).Value(); }
  // A look-up is told before it is counted.
  bool AwaitErrors(Error error, uint64_t count) {
    for (int i = 0; i < 20000 && errors(error) < count; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return errors(error) == count;
  }
  bool AwaitWrites(uint64_t count) {
    for (int i = 0; i < 20000 && metrics.store_writes.Get().Value() < count; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return metrics.store_writes.Get().Value() >= count;
  }

  Timer timer{base::Clock::Real()};
  ResponseCacheMetrics metrics{nullptr};
  std::shared_ptr<FakeStore::State> store = std::make_shared<FakeStore::State>();
  std::unique_ptr<SecondLevel> level;
};

SecondLevel::Options Patient() {
  SecondLevel::Options options;
  options.lookup_timeout = absl::Seconds(20);
  return options;
}

TEST(SecondLevelTest, FindsWhatWasPut) {
  Fixture fixture(Patient());
  EXPECT_EQ(fixture.Find("a"), "");
  fixture.Put("a", "text");
  ASSERT_TRUE(fixture.AwaitWrites(1));
  EXPECT_EQ(fixture.Find("a"), "text");
  EXPECT_EQ(fixture.level->lookup_circuit(), 0);
}

TEST(SecondLevelTest, AStoreThatHangsCostsTheTimeOutAndThenNothing) {
  Fixture fixture;
  fixture.store->hangs = true;
  for (int i = 0; i < 4; ++i) EXPECT_EQ(fixture.Find("a"), "");
  EXPECT_TRUE(fixture.AwaitErrors(ResponseCacheMetrics::kTooLate, 4)) << "each thread hangs in one";
  // Those behind them wait for no thread.
  for (int i = 0; i < 4; ++i) EXPECT_EQ(fixture.Find("a"), "");
  EXPECT_TRUE(fixture.AwaitErrors(ResponseCacheMetrics::kTooLate, 8));
  EXPECT_LE(fixture.store->asked, 4);
}

TEST(SecondLevelTest, AStoreThatIsAwayIsNotAskedForAWhileAndComesBack) {
  SecondLevel::Options options = Patient();
  options.breaker.open_for = absl::Milliseconds(50);
  Fixture fixture(options);
  fixture.store->away = true;
  for (int i = 0; i < 20; ++i) EXPECT_EQ(fixture.Find("a"), "");
  EXPECT_GT(fixture.errors(ResponseCacheMetrics::kGetFailed), 0u);
  EXPECT_GT(fixture.errors(ResponseCacheMetrics::kCircuitOpen), 0u);
  fixture.store->away = false;
  {
    base::MutexLock lock(&fixture.store->mutex);
    fixture.store->entries["a"] = "back";
  }
  std::string found;
  for (int i = 0; i < 20000 && found.empty(); ++i) {
    found = fixture.Find("a");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(found, "back");
  EXPECT_EQ(fixture.level->lookup_circuit(), 0);
}

TEST(SecondLevelTest, WritesThatDoNotFitAreDropped) {
  SecondLevel::Options options = Patient();
  options.max_write_bytes = 10;
  Fixture fixture(options);
  fixture.Put("large", std::string(11, 'x'));
  EXPECT_EQ(fixture.errors(ResponseCacheMetrics::kWriteDropped), 1u);
  fixture.store->hangs = true;
  fixture.Put("a", "12345");
  while (fixture.store->asked == 0) std::this_thread::yield();
  fixture.Put("b", "1234567890");
  fixture.Put("c", "1");
  EXPECT_EQ(fixture.errors(ResponseCacheMetrics::kWriteDropped), 2u);
  fixture.store->hangs = false;
  fixture.store->go_on.Notify();
  EXPECT_TRUE(fixture.AwaitWrites(2));
  EXPECT_EQ(fixture.Find("c"), "");
}

TEST(SecondLevelTest, ItsEndAnswersWhatWaits) {
  auto fixture = std::make_unique<Fixture>(Patient());
  fixture->store->hangs = true;
  std::vector<std::shared_ptr<Lookup>> lookups;
  for (int i = 0; i < 8; ++i) {
    lookups.push_back(std::make_shared<Lookup>("a", CacheControl{}));
    fixture->level->Find(lookups.back());
  }
  fixture.reset();
  for (const auto& lookup : lookups) EXPECT_TRUE(lookup->ready());
}

}  // namespace
}  // namespace hadal::response_cache
