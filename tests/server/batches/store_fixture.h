// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/batches/batch_store.h"
#include "tests/support/temp_folder.h"

namespace hadal::testing {

inline constexpr int64_t kNow = 1'800'000'000;  // Unix seconds

// A store in a folder of its own, and what tests ask of it.
class StoreFixture {
 public:
  explicit StoreFixture(batches::BatchOptions options = {}) : options_(std::move(options)) {
    options_.store = folder_.path();
    Reopen();
  }
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

 private:
  TempFolder folder_;
  batches::BatchOptions options_;
};

}  // namespace hadal::testing
