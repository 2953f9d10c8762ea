// SPDX-License-Identifier: Apache-2.0
#include "server/storage/statement.h"

#include <sqlite3.h>

#include <utility>

#include "server/storage/database.h"
#include "server/storage/sqlite_status.h"

namespace hadal::storage {

Statement::Statement(Statement&& other) noexcept
    : database_(other.database_),
      sql_(std::move(other.sql_)),
      statement_(std::exchange(other.statement_, nullptr)),
      status_(std::move(other.status_)),
      bound_(other.bound_),
      ended_(other.ended_) {}

Statement::~Statement() {
  if (statement_ != nullptr) database_->TakeBack(sql_, statement_);
}

void Statement::Check(int code) {
  if (status_.ok()) status_ = database_->StatusFrom(code);
}

void Statement::BindInt(int64_t value) {
  if (status_.ok()) Check(sqlite3_bind_int64(statement_, ++bound_, value));
}

void Statement::BindOne(double value) {
  if (status_.ok()) Check(sqlite3_bind_double(statement_, ++bound_, value));
}

void Statement::BindOne(std::string_view value) {
  if (!status_.ok()) return;
  Check(sqlite3_bind_text64(statement_, ++bound_, value.data() == nullptr ? "" : value.data(), value.size(),
                            SQLITE_TRANSIENT, SQLITE_UTF8));
}

void Statement::BindOne(std::nullopt_t) {
  if (status_.ok()) Check(sqlite3_bind_null(statement_, ++bound_));
}

Statement& Statement::BindBlob(std::string_view bytes) {
  if (!status_.ok()) return *this;
  Check(sqlite3_bind_blob64(statement_, ++bound_, bytes.data() == nullptr ? "" : bytes.data(), bytes.size(),
                            SQLITE_TRANSIENT));
  return *this;
}

bool Statement::Next() {
  if (!status_.ok() || ended_) return false;  // one more step would run it again
  const int code = sqlite3_step(statement_);
  Check(code);
  ended_ = code != SQLITE_ROW;
  return !ended_;
}

absl::Status Statement::Run() {
  // A write of its own, not within a transaction, which is tried again as a whole.
  LogKeeper* const log = database_->log_.get();
  const bool writes = log != nullptr && status_.ok() && sqlite3_get_autocommit(database_->db_) != 0 &&
                      sqlite3_stmt_readonly(statement_) == 0;
  if (writes) log->BeforeWrite();
  Next();
  if (writes && absl::IsResourceExhausted(status_)) {
    sqlite3_reset(statement_);  // it keeps what is bound
    if (log->MakeRoom()) {
      status_ = absl::OkStatus();
      ended_ = false;
      Next();
    }
  }
  ended_ = true;
  if (statement_ != nullptr) sqlite3_reset(statement_);
  return status_;
}

int64_t Statement::Int(int column) const { return sqlite3_column_int64(statement_, column); }

double Statement::Double(int column) const { return sqlite3_column_double(statement_, column); }

std::string_view Statement::Text(int column) const {
  const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  return data == nullptr ? std::string_view()
                         : std::string_view(data, static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
}

bool Statement::IsNull(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

}  // namespace hadal::storage
