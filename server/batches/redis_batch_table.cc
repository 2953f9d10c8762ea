// SPDX-License-Identifier: Apache-2.0
#include "server/batches/redis_batch_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/batches/redis_batch_scripts.h"
#include "server/batches/redis_file_table.h"
#include "server/batches/store_error.h"

namespace hadal::batches {
namespace {

using redis::Reply;
using redis::Words;

// Longer than any replica may be silent.
constexpr int64_t kGivenBackMs = int64_t{30} * 24 * 3600 * 1000;
// Results that are sent at a time, so that the link's time-out is enough for them.
constexpr size_t kResultBytesAtATime = size_t{1} << 20;
// Batches that are deleted at a time.
constexpr int64_t kSweptAtATime = 256;

StoredBatch BatchOf(int64_t number, const RedisFields& row) {
  StoredBatch batch;
  batch.number = number;
  batch.id = row.Text("id");
  batch.owner = row.Text("owner");
  batch.endpoint = row.Text("endpoint");
  batch.input_file = row.Text("input_file");
  batch.input_number = row.Int("input_number");
  batch.metadata_json = row.Text("metadata");
  batch.status = static_cast<BatchStatus>(std::clamp<int64_t>(row.Int("status"), 0, kBatchStatuses - 1));
  batch.total = row.Int("total");
  batch.completed = row.Int("completed");
  batch.failed = row.Int("failed");
  batch.output_file = row.Text("output_file");
  batch.error_file = row.Text("error_file");
  batch.created = row.Int("created");
  batch.expires = row.Int("expires");
  batch.result_seconds = row.Int("result_seconds");
  for (int i = 0; i < kBatchStatuses; ++i) {
    batch.reached[static_cast<size_t>(i)] = row.Int(base::StdView(absl::StrCat("reached_", i)));
  }
  return batch;
}

int64_t IntOf(absl::string_view text) {
  int64_t value = 0;
  return absl::SimpleAtoi(text, &value) ? value : 0;
}

// {id, {field, value, ...}} of a stream; a line is the entry LINE-1.
WaitingLine LineOf(const Reply& entry, bool taken_over) {
  const absl::string_view id = entry.items[0].text;
  const RedisFields fields(entry.items[1]);
  return {.number = IntOf(id.substr(0, id.find('-'))),
          .custom_id = std::string(fields.Text("custom_id")),
          .offset = fields.Int("offset"),
          .length = fields.Int("length"),
          .taken_over = taken_over};
}

absl::Status NotReading() { return absl::AbortedError("another process reads the batch's input"); }

}  // namespace

RedisBatchTable::RedisBatchTable(RedisLink* link, const BatchOptions* options)
    : link_(*link), options_(*options), replica_(NewId("replica-")) {}

std::string RedisBatchTable::ReclaimMs() const {
  return absl::StrCat(absl::ToInt64Milliseconds(options_.reclaim_after));
}

absl::StatusOr<StoredBatch> RedisBatchTable::Create(const NewBatch& wanted, int64_t now) {
  if (absl::Status status = CheckIsInput(wanted.input); !status.ok()) return status;
  const int64_t results_s =
      wanted.result_seconds > 0 ? wanted.result_seconds : absl::ToInt64Seconds(options_.retention);
  const std::string id = NewId("batch_");
  const absl::StatusOr<Reply> reply =
      link_.Eval(kCreateBatch, {id, wanted.owner, wanted.endpoint, absl::StrCat(wanted.input.number), wanted.input.id,
                                wanted.metadata_json, absl::StrCat(now),
                                absl::StrCat(now + absl::ToInt64Seconds(options_.completion_window)),
                                absl::StrCat(results_s), absl::StrCat(options_.max_key_batches)});
  if (!reply.ok()) return reply.status();
  if (reply->items[0].integer < 0) return TooManyBatches(options_, reply->items[1].integer);
  if (reply->items[0].integer == 0) return NoFile(wanted.input.id);
  return Find(wanted.owner, id);
}

// Batches of these numbers, without those that are gone.
absl::StatusOr<std::vector<StoredBatch>> RedisBatchTable::Rows(const std::vector<Reply>& numbers) {
  std::vector<Words> commands;
  for (const Reply& number : numbers) {
    commands.push_back({"HGETALL", RedisKey("batch", number.text)});
    commands.push_back({"LRANGE", RedisKey("errors", number.text), "0", "-1"});
  }
  if (commands.empty()) return std::vector<StoredBatch>();
  const absl::StatusOr<std::vector<Reply>> replies = link_.RunAll(commands);
  if (!replies.ok()) return replies.status();
  std::vector<StoredBatch> batches;
  for (size_t i = 0; i < numbers.size(); ++i) {
    const RedisFields row((*replies)[2 * i]);
    if (row.empty()) continue;
    StoredBatch batch = BatchOf(IntOf(numbers[i].text), row);
    const std::vector<Reply>& errors = (*replies)[2 * i + 1].items;
    for (size_t e = 0; e + 2 < errors.size(); e += 3) {
      batch.errors.push_back({errors[e].text, errors[e + 1].text, IntOf(errors[e + 2].text)});
    }
    batches.push_back(std::move(batch));
  }
  return batches;
}

absl::StatusOr<StoredBatch> RedisBatchTable::Find(std::string_view owner, std::string_view id) {
  const absl::StatusOr<int64_t> number = RedisNumberOf(link_, id);
  if (!number.ok()) return number.status();
  Reply wanted;
  wanted.text = absl::StrCat(*number);
  absl::StatusOr<std::vector<StoredBatch>> rows = Rows({wanted});
  if (!rows.ok()) return rows.status();
  if (rows->empty() || rows->front().owner != owner) return NoBatch(id);
  return std::move(rows->front());
}

absl::StatusOr<ListPage<StoredBatch>> RedisBatchTable::List(std::string_view owner, const ListQuery& query) {
  std::string from = "+inf";
  if (!query.after.empty()) {
    const absl::StatusOr<StoredBatch> last = Find(owner, query.after);
    if (!last.ok()) return last.status();
    from = absl::StrCat("(", last->number);
  }
  const absl::StatusOr<Reply> numbers = link_.Run({"ZRANGE", RedisKey("batches", base::View(owner)), from, "-inf",
                                                   "BYSCORE", "REV", "LIMIT", "0", absl::StrCat(query.limit + 1)});
  if (!numbers.ok()) return numbers.status();
  absl::StatusOr<std::vector<StoredBatch>> rows = Rows(numbers->items);
  if (!rows.ok()) return rows.status();
  ListPage<StoredBatch> page{.items = *std::move(rows)};
  page.has_more = static_cast<int64_t>(page.items.size()) > query.limit;
  if (page.has_more) page.items.pop_back();
  return page;
}

absl::StatusOr<StoredBatch> RedisBatchTable::Cancel(std::string_view owner, std::string_view id, int64_t now) {
  const absl::StatusOr<StoredBatch> batch = Find(owner, id);
  if (!batch.ok() || batch->status == BatchStatus::kCancelling) return batch;
  if (HasEnded(batch->status)) return NothingToCancel(*batch);
  const absl::Status status = link_.Eval(kCancelBatch, {absl::StrCat(batch->number), absl::StrCat(now)}).status();
  if (!status.ok()) return status;
  return Find(owner, id);
}

absl::StatusOr<std::vector<StoredBatch>> RedisBatchTable::Unended() {
  const absl::StatusOr<Reply> numbers = link_.Run({"ZRANGE", RedisKey("unended"), "0", "-1"});
  if (!numbers.ok()) return numbers.status();
  absl::StatusOr<std::vector<StoredBatch>> rows = Rows(numbers->items);
  if (!rows.ok()) return rows;
  std::erase_if(*rows, [](const StoredBatch& batch) { return HasEnded(batch.status); });
  const auto is_open = [&](int64_t number) {
    return std::any_of(rows->begin(), rows->end(), [&](const StoredBatch& batch) { return batch.number == number; });
  };
  std::erase_if(reading_, [&](const auto& reading) { return !is_open(reading.first); });
  std::erase_if(cursors_, [&](const auto& cursor) { return !is_open(cursor.first); });
  return rows;
}

absl::StatusOr<bool> RedisBatchTable::BeginReading(int64_t batch) {
  const std::string token = absl::StrCat(replica_, "/", ++readings_);
  const absl::StatusOr<Reply> reply = link_.Eval(kBeginReading, {absl::StrCat(batch), token, ReclaimMs()});
  if (!reply.ok()) return reply.status();
  if (reply->integer == 1) reading_[batch] = token;
  return reply->integer == 1;
}

absl::Status RedisBatchTable::AddLines(int64_t batch, const std::vector<WaitingLine>& lines,
                                       std::optional<BatchError>* repeated) {
  std::vector<std::string> arguments = {absl::StrCat(batch), reading_[batch], ReclaimMs()};
  for (const WaitingLine& line : lines) {
    arguments.insert(arguments.end(),
                     {absl::StrCat(line.number), line.custom_id, absl::StrCat(line.offset), absl::StrCat(line.length)});
  }
  const absl::StatusOr<Reply> reply = link_.Eval(kAddLines, std::move(arguments));
  if (!reply.ok()) return reply.status();
  if (reply->items[0].integer == 0) return NotReading();
  if (reply->items[0].integer < 0) {
    *repeated = RepeatedCustomId(lines[static_cast<size_t>(reply->items[1].integer)], reply->items[2].integer);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> RedisBatchTable::Begin(int64_t batch, int64_t now) {
  const absl::StatusOr<Reply> reply =
      link_.Eval(kBeginBatch, {absl::StrCat(batch), reading_[batch], absl::StrCat(now)});
  if (!reply.ok()) return reply.status();
  return reply->integer == 1;
}

absl::Status RedisBatchTable::Fail(int64_t batch, const std::vector<BatchError>& errors, int64_t now) {
  std::vector<std::string> arguments = {absl::StrCat(batch), reading_[batch], absl::StrCat(now),
                                        absl::StrCat(now + absl::ToInt64Seconds(options_.retention))};
  for (const BatchError& error : errors) {
    arguments.insert(arguments.end(), {error.code, error.message, absl::StrCat(error.line)});
  }
  const absl::StatusOr<Reply> reply = link_.Eval(kFailBatch, std::move(arguments));
  if (!reply.ok()) return reply.status();
  return reply->integer == 1 ? absl::OkStatus() : NotReading();
}

absl::StatusOr<std::vector<WaitingLine>> RedisBatchTable::Take(int64_t batch, int64_t, int64_t limit,
                                                               const std::vector<int64_t>& held) {
  std::string& cursor = cursors_[batch];
  if (cursor.empty()) cursor = "0-0";
  std::vector<std::string> arguments = {absl::StrCat(batch), replica_, absl::StrCat(limit), ReclaimMs(), cursor};
  for (const int64_t line : held) arguments.push_back(absl::StrCat(line));
  const absl::StatusOr<Reply> reply = link_.Eval(kTakeLines, std::move(arguments));
  if (!reply.ok()) return reply.status();
  cursor = reply->items[0].text;
  std::vector<WaitingLine> lines;
  for (const Reply& entry : reply->items[1].items) {
    WaitingLine line = LineOf(entry, /*taken_over=*/true);
    // After a long pause they are this replica's own.
    if (std::find(held.begin(), held.end(), line.number) == held.end()) lines.push_back(std::move(line));
  }
  for (const Reply& entry : reply->items[2].items) lines.push_back(LineOf(entry, /*taken_over=*/false));
  return lines;
}

absl::StatusOr<std::vector<int64_t>> RedisBatchTable::SetIdle(int64_t batch, int64_t idle_ms,
                                                              const std::vector<int64_t>& lines) {
  std::vector<std::string> arguments = {absl::StrCat(batch), replica_, absl::StrCat(idle_ms)};
  for (const int64_t line : lines) arguments.push_back(absl::StrCat(line));
  const absl::StatusOr<Reply> reply = link_.Eval(kKeepLines, std::move(arguments));
  if (!reply.ok()) return reply.status();
  std::vector<int64_t> lost;
  for (const Reply& line : reply->items) lost.push_back(line.integer);
  return lost;
}

absl::StatusOr<std::vector<int64_t>> RedisBatchTable::Keep(int64_t batch, const std::vector<int64_t>& lines) {
  return SetIdle(batch, 0, lines);
}

absl::Status RedisBatchTable::GiveBack(int64_t batch, const std::vector<int64_t>& lines) {
  return SetIdle(batch, kGivenBackMs, lines).status();
}

absl::StatusOr<std::vector<size_t>> RedisBatchTable::EndLines(const std::vector<EndedLine>& lines) {
  std::vector<size_t> late;
  for (size_t next = 0; next < lines.size();) {
    const size_t first = next;
    size_t bytes = 0;
    std::vector<std::string> arguments;
    do {
      const EndedLine& line = lines[next++];
      bytes += line.result.size();
      arguments.insert(arguments.end(),
                       {absl::StrCat(line.batch), absl::StrCat(line.number), line.completed ? "1" : "0", line.result});
    } while (next < lines.size() && bytes < kResultBytesAtATime);
    const absl::StatusOr<Reply> reply = link_.Eval(kEndLines, std::move(arguments));
    if (!reply.ok()) return reply.status();
    for (const Reply& index : reply->items) late.push_back(first + static_cast<size_t>(index.integer));
  }
  return late;
}

absl::StatusOr<bool> RedisBatchTable::End(const StoredBatch& batch, BatchStatus end, int64_t now) {
  const EndReason reason = ReasonOf(end);
  const int64_t kept_s = std::max(batch.result_seconds, absl::ToInt64Seconds(options_.retention));
  const std::vector<std::string> arguments = {absl::StrCat(batch.number),
                                              absl::StrCat(static_cast<int>(end)),
                                              absl::StrCat(now),
                                              std::string(reason.code),
                                              std::string(reason.message),
                                              NewId("file-"),
                                              NewId("file-"),
                                              absl::StrCat(now + kept_s),
                                              absl::StrCat(batch.result_seconds)};
  while (true) {
    const absl::StatusOr<Reply> reply = link_.Eval(kEndBatch, arguments);
    if (!reply.ok()) return reply.status();
    if (reply->integer != 2) return reply->integer == 1;
  }
}

absl::Status RedisBatchTable::DeleteOld(int64_t now) {
  while (true) {
    const absl::StatusOr<Reply> numbers = link_.Run(
        {"ZRANGE", RedisKey("ended"), "-inf", absl::StrCat(now), "BYSCORE", "LIMIT", "0", absl::StrCat(kSweptAtATime)});
    if (!numbers.ok()) return numbers.status();
    for (const Reply& number : numbers->items) {
      if (absl::Status status = link_.Eval(kDeleteBatch, {number.text}).status(); !status.ok()) return status;
    }
    if (static_cast<int64_t>(numbers->items.size()) < kSweptAtATime) return absl::OkStatus();
  }
}

}  // namespace hadal::batches
