// SPDX-License-Identifier: Apache-2.0
#include "server/batches/file_writer.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/server/batches/store_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::batches {
namespace {

using ::hadal::testing::StoreFixture;
using ::hadal::testing::StoreKind;

absl::StatusOr<StoredFile> Write(StoreFixture& fixture, FileWriter& writer, const std::string& text, size_t step) {
  return fixture.store->Ask<StoredFile>([&](Tables& tables) -> absl::StatusOr<StoredFile> {
    if (absl::Status status = writer.Begin(tables, "a", hadal::testing::kNow); !status.ok()) return status;
    for (size_t at = 0; at < text.size(); at += step) {
      writer.pending.append(text, at, step);
      while (writer.HasPiece(/*end=*/false)) {
        if (absl::Status status = writer.WritePiece(tables); !status.ok()) return status;
      }
      EXPECT_LT(writer.pending.size(), FileTable::kPieceBytes);
    }
    while (writer.HasPiece(/*end=*/true)) {
      if (absl::Status status = writer.WritePiece(tables); !status.ok()) return status;
    }
    return writer.Finish(tables, "in.jsonl", 0);
  });
}

TEST(FileWriterTest, HoweverBytesArriveTheyAreTheFile) {
  StoreFixture fixture(StoreKind::kSqlite);
  std::string text;
  while (text.size() < 600'000) text += StoreFixture::Line(static_cast<int>(text.size()));
  for (const size_t step : {size_t{1000}, FileTable::kPieceBytes, text.size()}) {
    FileWriter writer;
    EXPECT_FALSE(writer.begun());
    const absl::StatusOr<StoredFile> file = Write(fixture, writer, text, step);
    ASSERT_OK(file);
    EXPECT_EQ(writer.written(), text.size());
    EXPECT_TRUE(fixture.Content("a", file->id) == text) << step;
  }
}

TEST(FileWriterTest, WhatIsAbandonedIsGone) {
  BatchOptions options;
  options.max_key_files = 1;
  StoreFixture fixture(StoreKind::kSqlite, options);
  FileWriter first, second, none;
  const auto run = [&](auto step) { return fixture.store->Run(step); };
  const auto begin = [&](FileWriter& writer) {
    return run([&](Tables& tables) { return writer.Begin(tables, "a", hadal::testing::kNow); });
  };
  ASSERT_OK(begin(first));
  EXPECT_REASON(begin(second), request::Reason::kTenantQuota);
  EXPECT_FALSE(second.begun());
  EXPECT_OK(run([&](Tables& tables) { return none.Abandon(tables); }));
  EXPECT_OK(run([&](Tables& tables) { return first.Abandon(tables); }));
  EXPECT_OK(begin(second));
}

}  // namespace
}  // namespace hadal::batches
