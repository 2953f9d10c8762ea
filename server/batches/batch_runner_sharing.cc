// SPDX-License-Identifier: Apache-2.0
// What a runner does because other replicas have the same store.
#include <algorithm>
#include <set>
#include <vector>

#include "server/batches/batch_runner.h"

namespace hadal::batches {
namespace {

// So often, in the time after which lines are taken over, a replica says that it is alive.
constexpr int64_t kKeeps = 4;

bool IsIn(const std::vector<int64_t>& numbers, int64_t number) {
  return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

}  // namespace

bool BatchRunner::ReadBatches() {
  const auto rows =
      options_.store->Ask<std::vector<StoredBatch>>([](Tables& tables) { return tables.batches.Unended(); });
  if (!Did(rows.status())) return false;
  std::set<int64_t> unended;
  for (const StoredBatch& row : *rows) {
    unended.insert(row.number);
    batches_[row.number].row = row;
  }
  for (auto it = batches_.begin(); it != batches_.end();) {
    Batch& batch = it->second;
    if (unended.count(it->first) != 0) {
      ++it;
      continue;
    }
    DropAttempts(batch);  // another replica has ended it
    it = batches_.erase(it);
  }
  return true;
}

bool BatchRunner::LookAround() {
  const BatchOptions& options = options_.store->options();
  const absl::Time now = options_.clock->Now();
  if (!options.shared() || now < look_at_) return false;
  look_at_ = now + kLookEvery;
  if (now >= keep_at_) {
    for (auto& [number, batch] : batches_) {
      if (!KeepLines(batch)) return false;
    }
    keep_at_ = now + options.reclaim_after / kKeeps;
  }
  return true;
}

bool BatchRunner::KeepLines(Batch& batch) {
  const int64_t number = batch.row.number;
  const std::vector<int64_t> held = LinesOf(batch);
  if (held.empty()) return true;
  const auto lost =
      options_.store->Ask<std::vector<int64_t>>([&](Tables& tables) { return tables.batches.Keep(number, held); });
  if (!Did(lost.status())) return false;
  std::erase_if(batch.ready, [&](const Line& line) { return IsIn(*lost, line.at.number); });
  batch.in_flight -= static_cast<int>(std::erase_if(attempts_, [&](const auto& attempt) {
    return attempt.second.batch == number && IsIn(*lost, attempt.second.line.at.number);
  }));
  return true;
}

std::vector<int64_t> BatchRunner::LinesOf(const Batch& batch) const {
  std::vector<int64_t> lines;
  for (const Line& line : batch.ready) lines.push_back(line.at.number);
  for (const auto& [id, attempt] : attempts_) {
    if (attempt.batch == batch.row.number) lines.push_back(attempt.line.at.number);
  }
  return lines;
}

void BatchRunner::GiveBackLines() {
  if (!options_.store->options().shared()) return;
  for (const auto& [number, batch] : batches_) {
    const std::vector<int64_t> held = LinesOf(batch);
    if (held.empty()) continue;
    const int64_t of = number;
    // Else others take them over, later.
    if (!Did(options_.store->Run([&](Tables& tables) { return tables.batches.GiveBack(of, held); }))) return;
  }
}

}  // namespace hadal::batches
