// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "absl/status/status.h"

struct sqlite3;

namespace hadal::storage {

// An extended result code of SQLite as a status that names the file and the cause:
//   RESOURCE_EXHAUSTED   the disk or the database's size limit is full; deleting or waiting may help
//   UNAVAILABLE          another process or connection holds it for longer than the busy time-out
//   DATA_LOSS            the file is damaged or is no database
//   FAILED_PRECONDITION  it cannot be opened or written: rights, a read-only disk, a folder that is missing
//   ALREADY_EXISTS       a constraint of the schema, as a key that is there
//   INTERNAL             anything else: I/O errors, and mistakes in our own SQL
// `db` gives details and may be null. OK for SQLITE_OK, SQLITE_ROW and SQLITE_DONE.
absl::Status StatusOf(int code, sqlite3* db, std::string_view file);

}  // namespace hadal::storage
