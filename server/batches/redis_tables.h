// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "server/batches/batch_options.h"
#include "server/batches/redis_batch_table.h"
#include "server/batches/redis_file_table.h"
#include "server/batches/redis_link.h"
#include "server/batches/tables.h"

namespace hadal::batches {

// Files and batches in a Redis that replicas share.
class RedisTables final : public Tables {
 public:
  // A Redis that would lose what it is given is refused (FAILED_PRECONDITION), one that keeps no file or is away now is
  // logged. INVALID_ARGUMENT names the flag. Borrows the options.
  static absl::StatusOr<std::unique_ptr<RedisTables>> Open(const BatchOptions* options);

  int circuit() const override { return link_.circuit(); }
  absl::StatusOr<int64_t> UsedBytes() override { return link_.UsedBytes(); }

 private:
  RedisTables(redis::Endpoint endpoint, const BatchOptions* options);

  RedisLink link_;
  RedisFileTable file_table_;
  RedisBatchTable batch_table_;
};

}  // namespace hadal::batches
