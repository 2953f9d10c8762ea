// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/strings/string_view.h"

namespace hadal::batches {

// Condition on a batch that has not ended (HasEnded).
inline constexpr absl::string_view kNotEnded = "status IN (0, 1, 2, 6)";

inline constexpr int32_t kApplicationId = 0x68616462;  // "hadb"

// An uploaded file's bytes are its chunks; the results of a batch are its lines, so that a line's end and its result
// are one write. Status numbers are those of BatchStatus; a line waits (0), has completed (1), or has failed (2).
inline constexpr std::string_view kMigrations[] = {R"sql(
CREATE TABLE batches(
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, endpoint TEXT NOT NULL,
  input_number INTEGER NOT NULL, input_file TEXT NOT NULL, metadata TEXT NOT NULL, status INTEGER NOT NULL,
  total INTEGER NOT NULL DEFAULT 0, completed INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
  output_file TEXT NOT NULL DEFAULT '', error_file TEXT NOT NULL DEFAULT '',
  created INTEGER NOT NULL, expires INTEGER NOT NULL, result_seconds INTEGER NOT NULL,
  reached_0 INTEGER NOT NULL DEFAULT 0, reached_1 INTEGER NOT NULL DEFAULT 0, reached_2 INTEGER NOT NULL DEFAULT 0,
  reached_3 INTEGER NOT NULL DEFAULT 0, reached_4 INTEGER NOT NULL DEFAULT 0, reached_5 INTEGER NOT NULL DEFAULT 0,
  reached_6 INTEGER NOT NULL DEFAULT 0, reached_7 INTEGER NOT NULL DEFAULT 0);
CREATE INDEX batches_of_owner ON batches(owner, number);
CREATE INDEX batches_by_status ON batches(status);
CREATE TABLE errors(
  batch INTEGER NOT NULL REFERENCES batches(number) ON DELETE CASCADE,
  code TEXT NOT NULL, message TEXT NOT NULL, line INTEGER NOT NULL);
CREATE INDEX errors_of_batch ON errors(batch);
CREATE TABLE lines(
  batch INTEGER NOT NULL REFERENCES batches(number) ON DELETE CASCADE, number INTEGER NOT NULL,
  custom_id TEXT NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0,
  result BLOB);
CREATE UNIQUE INDEX lines_by_number ON lines(batch, number);
CREATE UNIQUE INDEX lines_by_custom_id ON lines(batch, custom_id);
CREATE INDEX lines_waiting ON lines(batch, number) WHERE state = 0;
CREATE TABLE files(
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
  name TEXT NOT NULL DEFAULT '', purpose TEXT NOT NULL DEFAULT '', bytes INTEGER NOT NULL DEFAULT 0,
  created INTEGER NOT NULL, expires INTEGER NOT NULL, ready INTEGER NOT NULL DEFAULT 0,
  batch INTEGER REFERENCES batches(number) ON DELETE CASCADE, holds_errors INTEGER NOT NULL DEFAULT 0);
CREATE INDEX files_of_owner ON files(owner, number);
CREATE INDEX files_of_batch ON files(batch);
CREATE TABLE chunks(
  file INTEGER NOT NULL REFERENCES files(number) ON DELETE CASCADE, offset INTEGER NOT NULL, data BLOB NOT NULL);
CREATE UNIQUE INDEX chunks_of_file ON chunks(file, offset);
)sql"};

}  // namespace hadal::batches
