// SPDX-License-Identifier: Apache-2.0
#include "server/batches/content_reader.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/server/batches/store_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::batches {
namespace {

using testing::kNow;
using testing::StoreFixture;

class ContentReaderTest : public testing::StoreTest {};
HADAL_BOTH_STORES(ContentReaderTest);

constexpr int64_t kPiece = FileTable::kPieceBytes;

// Bytes `begin` to `end` - 1 of a file, each piece by a job of its own.
std::string Read(StoreFixture& fixture, const std::string& id, int64_t begin, int64_t end) {
  ContentReader reader;
  EXPECT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    absl::StatusOr<StoredFile> file = tables.files.Find("a", id);
    if (file.ok()) reader = ContentReader(*std::move(file), begin, end);
    return file.status();
  }));
  std::string bytes;
  for (int i = 0; i < 100; ++i) {
    const auto piece = fixture.store->Ask<ContentReader::Piece>([&](Tables& tables) { return reader.Next(tables); });
    EXPECT_OK(piece);
    if (!piece.ok()) return bytes;
    EXPECT_LE(piece->bytes.size(), size_t{2} << 20);
    bytes += piece->bytes;
    if (piece->end) return bytes;
  }
  ADD_FAILURE() << "it does not end";
  return bytes;
}

void ExpectEveryPart(StoreFixture& fixture, const std::string& id, const std::string& content) {
  const auto size = static_cast<int64_t>(content.size());
  for (const int64_t begin : {int64_t{0}, int64_t{1}, kPiece - 1, kPiece, kPiece + 1, size / 2, size - 1, size}) {
    for (const int64_t length : {int64_t{0}, int64_t{1}, kPiece, kPiece + 1, size, size + 1000}) {
      EXPECT_TRUE(Read(fixture, id, begin, begin + length) ==
                  content.substr(static_cast<size_t>(begin), static_cast<size_t>(length)))
          << begin << " " << length;
    }
  }
}

TEST_P(ContentReaderTest, GivesEveryPartOfAnUpload) {
  StoreFixture fixture(GetParam());
  std::string content(3 * kPiece + 17, ' ');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 131 >> 3);
  const auto file = fixture.Upload("a", content);
  ASSERT_OK(file);
  ExpectEveryPart(fixture, file->id, content);
  EXPECT_EQ(Read(fixture, fixture.Upload("a", "")->id, 0, 9), "");
}

TEST_P(ContentReaderTest, GivesEveryPartOfResults) {
  StoreFixture fixture(GetParam());
  constexpr int kLines = 40;
  StoredBatch batch = fixture.Submit(kLines);
  std::string content;
  ASSERT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    tables.batches.BeginReading(batch.number).IgnoreError();
    std::vector<WaitingLine> waiting;
    std::vector<EndedLine> ended;
    for (int i = 1; i <= kLines; ++i) {
      waiting.push_back({.number = i, .custom_id = absl::StrCat("line-", i), .offset = i, .length = 1});
      ended.push_back(
          {batch.number, i, true, absl::StrCat(i, std::string(20'000, static_cast<char>('a' + i % 26)), "\n")});
      content += ended.back().result;
    }
    std::optional<BatchError> repeated;
    absl::Status status = tables.batches.AddLines(batch.number, waiting, &repeated);
    if (status.ok()) status = tables.batches.Begin(batch.number, kNow + 1).status();
    if (status.ok()) status = tables.batches.EndLines(ended).status();
    const absl::StatusOr<StoredBatch> now = tables.batches.Find("a", batch.id);
    if (status.ok()) status = now.status();
    if (status.ok()) status = tables.batches.End(*now, BatchStatus::kCompleted, kNow + 9).status();
    return status;
  }));
  batch = fixture.Find(batch);
  ASSERT_GT(static_cast<int64_t>(content.size()), 2 * kPiece);
  ExpectEveryPart(fixture, batch.output_file, content);
}

}  // namespace
}  // namespace hadal::batches
