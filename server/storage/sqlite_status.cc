// SPDX-License-Identifier: Apache-2.0
#include "server/storage/sqlite_status.h"

#include <sqlite3.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"

namespace hadal::storage {
namespace {

absl::StatusCode CodeOf(int code, int system_error) {
  switch (code & 0xff) {
    case SQLITE_FULL:
      return absl::StatusCode::kResourceExhausted;
    case SQLITE_IOERR:
      return system_error == ENOSPC || system_error == EDQUOT || system_error == EFBIG
                 ? absl::StatusCode::kResourceExhausted
                 : absl::StatusCode::kInternal;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::StatusCode::kUnavailable;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::StatusCode::kDataLoss;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
      return absl::StatusCode::kFailedPrecondition;
    case SQLITE_CONSTRAINT:
      return absl::StatusCode::kAlreadyExists;
    default:
      return absl::StatusCode::kInternal;
  }
}

absl::string_view Cause(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kResourceExhausted:
      return "no space is left, on the disk or within the size limit";
    case absl::StatusCode::kUnavailable:
      return "another process holds it";
    case absl::StatusCode::kDataLoss:
      return "the file is damaged or is no database";
    case absl::StatusCode::kFailedPrecondition:
      return "it cannot be opened or written";
    default:
      return "";
  }
}

}  // namespace

absl::Status StatusOf(int code, sqlite3* db, std::string_view file) {
  if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) return absl::OkStatus();
  const int system_error = db == nullptr ? 0 : sqlite3_system_errno(db);
  const absl::StatusCode status = CodeOf(code, system_error);
  const absl::string_view cause = Cause(status);
  std::string message = absl::StrCat(base::View(file), ": ", cause, cause.empty() ? "" : ": ",
                                     db == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(db));
  const int kind = code & 0xff;
  const bool of_the_system = kind == SQLITE_IOERR || kind == SQLITE_CANTOPEN || kind == SQLITE_FULL;
  if (of_the_system && system_error != 0) absl::StrAppend(&message, " (", std::strerror(system_error), ")");
  return absl::Status(status, message);
}

}  // namespace hadal::storage
