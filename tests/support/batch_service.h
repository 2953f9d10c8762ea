// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <future>
#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "server/batches/batch_service.h"
#include "server/batches/sqlite_tables.h"
#include "tests/support/temp_folder.h"

namespace hadal::testing {

// A service that keeps files and batches in that folder; both outlive it.
inline std::unique_ptr<batches::BatchService> OpenBatchService(batches::BatchOptions options, const TempFolder& folder,
                                                               batches::BatchMetrics* metrics) {
  options.store = folder.path();
  return batches::BatchService::Open(options, metrics).value();
}

// Files in its store, those included whose upload has not come to its end.
inline int64_t CountFiles(batches::BatchService& service) {
  std::promise<int64_t> count;
  EXPECT_TRUE(service.TryPost([&](batches::Tables& tables) {
    storage::Statement rows =
        static_cast<batches::SqliteTables&>(tables).database().Prepare("SELECT count(*) FROM files");
    count.set_value(rows.Next() ? rows.Int(0) : -1);
  }));
  return count.get_future().get();
}

}  // namespace hadal::testing
