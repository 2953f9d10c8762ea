// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "server/admission/memory_ledger.h"

namespace hadal::commands {

// Follows what may make the memory budget smaller while the server runs: a file that an operator rewrites, and the
// limit of the cgroup, which Kubernetes changes when it resizes a pod in place. The budget is the least of them and
// never more than at the start. Not thread-safe.
class RuntimeBudget {
 public:
  struct Sources {
    std::string file;                      // --memory-budget-file: bytes, as in the flag --memory-budget; empty: none
    std::function<int64_t()> group_limit;  // bytes; 0: none. May be null
  };
  // `ledger` outlives this.
  RuntimeBudget(Sources sources, admission::MemoryLedger* ledger);

  // For the start: an error names the flag, the file and what is wrong with it.
  static absl::Status CheckFile(const std::string& path);
  // Reads the sources and gives the ledger its budget; changes are logged. What cannot be read leaves the file's last
  // value in force, with one warning for each new error.
  void Update();

 private:
  void ReadFile();

  const Sources sources_;
  admission::MemoryLedger* const ledger_;
  int64_t file_bytes_ = 0;  // 0: no limit
  std::string last_error_;
};

}  // namespace hadal::commands
