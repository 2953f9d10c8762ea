// SPDX-License-Identifier: Apache-2.0
#include "server/commands/runtime_budget.h"

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/read_file.h"
#include "server/base/flag_values.h"
#include "server/base/log.h"
#include "server/base/strings.h"

namespace hadal::commands {
namespace {

constexpr int64_t kMaxBudgetFileBytes = 64;

absl::StatusOr<int64_t> ReadBudget(const std::string& path) {
  const absl::StatusOr<std::string> text = base::ReadFile(path, kMaxBudgetFileBytes);
  if (!text.ok()) return absl::InvalidArgumentError(absl::StrCat("--memory-budget-file: ", text.status().message()));
  const absl::StatusOr<int64_t> bytes = base::ParseBytes(std::string(absl::StripAsciiWhitespace(*text)));
  if (bytes.ok()) return bytes;
  return absl::InvalidArgumentError(absl::StrCat("--memory-budget-file: ", path, ": ", bytes.status().message()));
}

}  // namespace

RuntimeBudget::RuntimeBudget(Sources sources, admission::MemoryLedger* ledger)
    : sources_(std::move(sources)), ledger_(ledger) {}

absl::Status RuntimeBudget::CheckFile(const std::string& path) { return ReadBudget(path).status(); }

void RuntimeBudget::ReadFile() {
  const absl::StatusOr<int64_t> bytes = ReadBudget(sources_.file);
  if (bytes.ok()) {
    file_bytes_ = *bytes;
    last_error_.clear();
    return;
  }
  std::string error(bytes.status().message());
  if (error == last_error_) return;
  base::Log(base::LogLevel::kWarn, "main", absl::StrCat(error, "; the last value stays in force"));
  last_error_ = std::move(error);
}

void RuntimeBudget::Update() {
  int64_t budget = ledger_->initial_budget_bytes();
  std::string_view source = "the start";
  const auto limit = [&](int64_t bytes, std::string_view name) {
    if (bytes <= 0 || bytes >= budget) return;
    budget = bytes;
    source = name;
  };
  if (!sources_.file.empty()) {
    ReadFile();
    limit(file_bytes_, "--memory-budget-file");
  }
  if (sources_.group_limit != nullptr) limit(sources_.group_limit(), "the cgroup's limit");
  if (budget == ledger_->budget_bytes()) return;
  ledger_->SetBudget(budget);
  const int64_t missing = std::max<int64_t>(0, ledger_->committed_bytes() - budget);
  base::Log(missing > 0 ? base::LogLevel::kWarn : base::LogLevel::kInfo, "main",
            absl::StrCat("the memory budget is now ", admission::FormatBytes(budget), ", by ", base::View(source),
                         "; it was ", admission::FormatBytes(ledger_->initial_budget_bytes()), " at the start; ",
                         missing > 0 ? absl::StrCat(admission::FormatBytes(missing), " of the KV cache stay unused")
                                     : "all of the KV cache may be used"));
}

}  // namespace hadal::commands
