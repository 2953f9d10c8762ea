// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/batches/batch_store.h"
#include "tests/support/redis_server.h"
#include "tests/support/temp_folder.h"

namespace hadal::testing {

inline constexpr int64_t kNow = 1'800'000'000;  // Unix seconds

enum class StoreKind { kSqlite, kRedis };

// What both kinds of store promise: TEST_P cases make a StoreFixture(GetParam()).
class StoreTest : public ::testing::TestWithParam<StoreKind> {
 protected:
  void SetUp() override {
    if (GetParam() == StoreKind::kRedis && !RedisServer::Installed()) {
      GTEST_SKIP() << "needs redis-server (scripts/bootstrap --test)";
    }
  }
};
inline std::string StoreName(const ::testing::TestParamInfo<StoreKind>& kind) {
  return kind.param == StoreKind::kSqlite ? "Sqlite" : "Redis";
}
#define HADAL_BOTH_STORES(suite)                                                                                     \
  INSTANTIATE_TEST_SUITE_P(Stores, suite,                                                                            \
                           ::testing::Values(hadal::testing::StoreKind::kSqlite, hadal::testing::StoreKind::kRedis), \
                           hadal::testing::StoreName)

// A store in a folder, or in a Redis, of its own, and what tests ask of it.
class StoreFixture {
 public:
  explicit StoreFixture(StoreKind kind, batches::BatchOptions options = {}) : options_(std::move(options)) {
    if (kind == StoreKind::kRedis) redis_ = std::make_shared<RedisServer>();
    options_.store = redis_ == nullptr ? folder_.path() : redis_->url();
    Reopen();
  }
  // Another process with the same Redis.
  explicit StoreFixture(const StoreFixture& other) : options_(other.options_), redis_(other.redis_) { Reopen(); }
  // As after a restart of the process.
  void Reopen() {
    store.reset();
    auto opened = batches::BatchStore::Open(options_);
    EXPECT_TRUE(opened.ok()) << opened.status();
    if (opened.ok()) store = *std::move(opened);
  }

  absl::StatusOr<batches::StoredFile> Upload(std::string_view owner, std::string_view text) {
    return store->Ask<batches::StoredFile>([&](batches::Tables& tables) -> absl::StatusOr<batches::StoredFile> {
      const absl::StatusOr<batches::Upload> upload = tables.files.Begin(owner, kNow);
      if (!upload.ok()) return upload.status();
      int64_t offset = 0;
      for (std::string_view rest = text; !rest.empty();) {
        const std::string_view piece = rest.substr(0, batches::FileTable::kPieceBytes);
        if (absl::Status status = tables.files.Append(*upload, offset, piece); !status.ok()) return status;
        offset += static_cast<int64_t>(piece.size());
        rest.remove_prefix(piece.size());
      }
      return tables.files.Finish(*upload, "in.jsonl", offset, 0);
    });
  }
  absl::StatusOr<batches::StoredBatch> Create(const batches::StoredFile& input, int64_t now = kNow) {
    return store->Ask<batches::StoredBatch>([&](batches::Tables& tables) {
      return tables.batches.Create(
          {.owner = input.owner, .endpoint = "/v1/chat/completions", .metadata_json = "{}", .input = input}, now);
    });
  }
  // A batch of `lines` lines with the bodies {"n":1}, {"n":2}, ...
  batches::StoredBatch Submit(int lines, std::string_view owner = "a", int64_t now = kNow) {
    std::string text;
    for (int i = 1; i <= lines; ++i) text += Line(i);
    absl::StatusOr<batches::StoredFile> file = Upload(owner, text);
    EXPECT_TRUE(file.ok()) << file.status();
    absl::StatusOr<batches::StoredBatch> batch = Create(*file, now);
    EXPECT_TRUE(batch.ok()) << batch.status();
    return *std::move(batch);
  }
  static std::string Line(int n) {
    return absl::StrCat(R"({"custom_id":"line-)", n, R"(","method":"POST","url":"/v1/chat/completions","body":{"n":)",
                        n, "}}\n");
  }
  batches::StoredBatch Find(const batches::StoredBatch& batch) {
    auto found = store->Ask<batches::StoredBatch>(
        [&](batches::Tables& tables) { return tables.batches.Find(batch.owner, batch.id); });
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? *std::move(found) : batches::StoredBatch();
  }
  // Of a file by its id; "" for no id.
  std::string Content(const std::string& owner, const std::string& id) {
    if (id.empty()) return "";
    auto content = store->Ask<std::string>([&](batches::Tables& tables) -> absl::StatusOr<std::string> {
      const absl::StatusOr<batches::StoredFile> file = tables.files.Find(owner, id);
      if (!file.ok()) return file.status();
      std::string bytes;
      batches::ContentPiece piece;
      do {
        absl::StatusOr<batches::ContentPiece> next = tables.files.Read(*file, piece.next);
        if (!next.ok()) return next.status();
        piece = *std::move(next);
        bytes += piece.bytes;
      } while (!piece.end);
      return bytes;
    });
    EXPECT_TRUE(content.ok()) << content.status();
    return content.value_or("");
  }

  std::unique_ptr<batches::BatchStore> store;

  RedisServer& redis() { return *redis_; }

 private:
  const TempFolder folder_;
  batches::BatchOptions options_;
  std::shared_ptr<RedisServer> redis_;  // null: SQLite
};

}  // namespace hadal::testing
