// SPDX-License-Identifier: Apache-2.0
#include "client/disk_cache.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "client/digest.h"
#include "tests/support/temp_folder.h"

namespace hadal::client {
namespace {

namespace fs = std::filesystem;

const absl::Time kNow = absl::FromUnixSeconds(1000);
const absl::Time kLater = kNow + absl::Hours(1);

struct DiskCacheTest : ::testing::Test {
  std::unique_ptr<DiskCache> Open(int64_t max_bytes = 1'000'000) { return *DiskCache::Open(folder, max_bytes); }
  size_t Files() { return std::distance(fs::directory_iterator(folder), fs::directory_iterator()); }
  std::string Value(DiskCache& cache, const std::string& key, absl::Time now = kNow) {
    const auto found = cache.Find(key, now);
    return found.has_value() ? found->value : "none";
  }

  hadal::testing::TempFolder temp;
  std::string folder = (fs::path(temp.path()) / "cache").string();
  const std::string a = Digest({"a"}), b = Digest({"b"}), c = Digest({"c"});
};

TEST_F(DiskCacheTest, IsThereForTheNextRun) {
  Open()->Add(a, std::string("1\0x", 3), kLater);
  const auto cache = Open();
  EXPECT_EQ(Value(*cache, a), std::string("1\0x", 3));
  EXPECT_EQ(cache->Find(a, kNow)->expires, kLater);
  EXPECT_EQ(Value(*cache, b), "none");
  EXPECT_EQ(Value(*cache, a, kLater), "none");
  EXPECT_EQ(Files(), 0u) << "what is too old goes";
}

TEST_F(DiskCacheTest, IsForItsOwnerAlone) {
  Open()->Add(a, "1", kLater);
  struct stat status = {};
  ASSERT_EQ(stat(folder.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  ASSERT_EQ(stat((folder + "/" + a).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(DiskCacheTest, ABrokenFileIsAMissAndGoes) {
  const auto cache = Open();
  cache->Add(a, "an answer", kLater);
  const std::string path = folder + "/" + a;
  std::string good(fs::file_size(path), '\0');
  std::ifstream(path).read(good.data(), static_cast<std::streamsize>(good.size()));
  for (size_t cut = 0; cut < good.size(); ++cut) {
    std::ofstream(path) << good.substr(0, cut);
    EXPECT_EQ(Value(*cache, a), "none") << cut;
    EXPECT_FALSE(fs::exists(path));
    std::string flipped = good;
    flipped[cut] ^= 1;
    std::ofstream(path) << flipped;
    EXPECT_EQ(Value(*cache, a), "none") << cut;
  }
  // Another answer's file under this name.
  cache->Add(b, "another answer", kLater);
  fs::rename(folder + "/" + b, path);
  EXPECT_EQ(Value(*cache, a), "none");
}

TEST_F(DiskCacheTest, TheOldestGoWhereThereIsNoRoom) {
  const auto cache = Open(4000);
  const std::string value(1000, 'x');
  const auto now = fs::file_time_type::clock::now();
  cache->Add(a, value, kLater);
  fs::last_write_time(folder + "/" + a, now - std::chrono::seconds(5));
  cache->Add(b, value, kLater);
  fs::last_write_time(folder + "/" + b, now - std::chrono::seconds(9));
  cache->Add(c, value, kLater);
  std::ofstream(folder + "/notes.txt") << "somebody's own";
  cache->Add(Digest({"d"}), value, kLater);
  EXPECT_EQ(Value(*cache, b), "none");
  EXPECT_EQ(Value(*cache, a), value);
  EXPECT_EQ(Value(*cache, c), value);
  EXPECT_TRUE(fs::exists(folder + "/notes.txt"));
  cache->Add(Digest({"e"}), std::string(5000, 'x'), kLater);
  EXPECT_EQ(Value(*cache, Digest({"e"})), "none") << "more than all room";
  EXPECT_EQ(Value(*cache, c), value);
}

TEST_F(DiskCacheTest, WhatAKilledWriterLeftGoesInTime) {
  fs::create_directories(folder);
  const std::string young = folder + "/" + a + ".1.1.unfinished", old = folder + "/" + b + ".1.1.unfinished";
  std::ofstream(young) << "half";
  std::ofstream(old) << "half";
  fs::last_write_time(old, fs::file_time_type::clock::now() - std::chrono::hours(2));
  const auto cache = Open();
  EXPECT_TRUE(fs::exists(young)) << "it may still be written";
  EXPECT_FALSE(fs::exists(old));
  EXPECT_EQ(Value(*cache, a), "none");
}

TEST_F(DiskCacheTest, AFolderThatVanishesCostsMissesOnly) {
  const auto cache = Open();
  cache->Add(a, "1", kLater);
  fs::remove_all(folder);
  EXPECT_EQ(Value(*cache, a), "none");
  cache->Add(a, "1", kLater);
  EXPECT_EQ(Value(*cache, a), "none");
}

TEST_F(DiskCacheTest, SaysWhatIsWrongWithAFolder) {
  std::ofstream(folder) << "a file";
  const absl::Status status = DiskCache::Open(folder, 1000).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find(folder), absl::string_view::npos) << status;
  EXPECT_EQ(DiskCache::Open(folder, 0).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(DiskCacheTest, TwoProcessesWriteTheSame) {
  const auto one = Open(20'000), other = Open(20'000);
  std::vector<std::thread> threads;
  for (DiskCache* const cache : {one.get(), other.get()}) {
    threads.emplace_back([&, cache] {
      for (int i = 0; i < 200; ++i) {
        const std::string key = Digest({std::to_string(i % 30)});
        const std::string value(500, static_cast<char>('a' + i % 30));
        cache->Add(key, value, kLater);
        const auto found = cache->Find(key, kNow);
        EXPECT_TRUE(!found.has_value() || found->value == value) << i;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace hadal::client
