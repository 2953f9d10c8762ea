// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

struct sqlite3_stmt;

namespace hadal::storage {

class Database;

// One run of a compiled statement: bind its parameters in order, then Run it, or read its rows with Next. The first
// error is kept, and nothing is done after it, so callers check once:
//
//   Statement rows = db.Prepare("SELECT id, bytes FROM files WHERE owner = ?");
//   rows.Bind(owner);
//   while (rows.Next()) Use(rows.Text(0), rows.Int(1));
//   return rows.status();
//
// Move-only; must not outlive its database. While it has rows left it holds a view of the database: end it soon.
class Statement {
 public:
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&& other) = delete;
  ~Statement();

  // Binds the next parameters. Texts and blobs are copied.
  template <typename... Values>
  Statement& Bind(const Values&... values) {
    (BindOne(values), ...);
    return *this;
  }
  // The bytes as a blob.
  Statement& BindBlob(std::string_view bytes);

  // Runs a statement whose rows, if it has any, do not matter.
  absl::Status Run();
  // True: there is another row. False: there is none, or status() is an error.
  bool Next();
  const absl::Status& status() const { return status_; }

  // Columns of the current row, from 0. NULL reads as 0 and as an empty text.
  int64_t Int(int column) const;
  double Double(int column) const;
  // Text or blob; valid until the next call of Next, Run, or the destructor.
  std::string_view Text(int column) const;
  std::string String(int column) const { return std::string(Text(column)); }
  bool IsNull(int column) const;

 private:
  friend class Database;
  Statement(Database* database, std::string sql, sqlite3_stmt* statement, absl::Status status)
      : database_(database), sql_(std::move(sql)), statement_(statement), status_(std::move(status)) {}

  template <std::integral Int>
  void BindOne(Int value) {
    BindInt(static_cast<int64_t>(value));
  }
  void BindOne(double value);
  void BindOne(std::string_view value);
  void BindOne(const std::string& value) { BindOne(std::string_view(value)); }
  void BindOne(const char* value) { BindOne(std::string_view(value)); }
  void BindOne(std::nullopt_t);
  template <typename T>
  void BindOne(const std::optional<T>& value) {
    if (value.has_value()) {
      BindOne(*value);
    } else {
      BindOne(std::nullopt);
    }
  }
  void BindInt(int64_t value);
  void Check(int code);

  Database* database_;
  std::string sql_;
  sqlite3_stmt* statement_;
  absl::Status status_;
  int bound_ = 0;
  bool ended_ = false;  // it has no more rows
};

}  // namespace hadal::storage
