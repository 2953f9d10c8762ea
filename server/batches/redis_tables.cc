// SPDX-License-Identifier: Apache-2.0
#include "server/batches/redis_tables.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/log.h"
#include "server/base/strings.h"

namespace hadal::batches {

absl::StatusOr<std::unique_ptr<RedisTables>> RedisTables::Open(const BatchOptions* options) {
  absl::StatusOr<redis::Endpoint> endpoint = options->redis.EndpointOf(options->store, "batch", "batch-store");
  if (!endpoint.ok()) return endpoint.status();
  std::unique_ptr<RedisTables> tables(new RedisTables(*std::move(endpoint), options));
  const absl::Status checked = tables->link_.Check();
  if (absl::IsFailedPrecondition(checked)) return checked;
  if (!checked.ok()) {
    base::Log(base::LogLevel::kWarn, "batches",
              base::StdView(absl::StrCat("Redis cannot be asked now: ", checked.message(), "; it is tried again")));
  } else if (!tables->link_.keeps_a_file()) {
    base::Log(base::LogLevel::kWarn, "batches",
              "Redis has appendonly off: with it files and batches since its last snapshot end, too");
  }
  return tables;
}

RedisTables::RedisTables(redis::Endpoint endpoint, const BatchOptions* options)
    : Tables(file_table_, batch_table_),
      link_(std::move(endpoint), base::Clock::Real()),
      file_table_(&link_, options),
      batch_table_(&link_, options) {}

}  // namespace hadal::batches
