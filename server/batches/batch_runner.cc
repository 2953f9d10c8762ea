// SPDX-License-Identifier: Apache-2.0
#include "server/batches/batch_runner.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "server/base/log.h"
#include "server/base/strings.h"
#include "server/batches/input_line.h"
#include "server/request/refusal.h"

namespace hadal::batches {
namespace {

using request::Reason;

constexpr int64_t kLinesAtATime = 256;                      // taken from the store
constexpr absl::Duration kStoreRetry = absl::Seconds(1);    // after an error of the database
constexpr absl::Duration kSweepEvery = absl::Minutes(1);    // for what is too old
constexpr absl::Duration kUnknownRetry = absl::Seconds(1);  // where a refusal gives no time

// The line is as good as before: it did not run, or it was cut short.
bool MayReturn(const absl::Status& status) {
  const request::ErrorDetail detail = request::GetErrorDetail(status);
  switch (detail.reason) {
    case Reason::kModelLoading:
    case Reason::kDraining:
    case Reason::kDeviceFault:
    case Reason::kCancelled:
    case Reason::kInsufficientSystemResource:
      return true;
    default:
      return detail.retry_after.has_value();
  }
}

}  // namespace

BatchRunner::BatchRunner(Options options)
    : options_(std::move(options)), window_(options_.store->options().max_in_flight), thread_([this] { Loop(); }) {}

void BatchRunner::Wake() {
  base::MutexLock lock(&mutex_);
  news_.changed = true;
  changed_.NotifyAll();
}

void BatchRunner::BeginDrain() {
  base::MutexLock lock(&mutex_);
  draining_ = true;
}

void BatchRunner::Stop() {
  {
    base::MutexLock lock(&mutex_);
    news_.stop = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

BatchRunner::News BatchRunner::Await(absl::Time until) {
  base::MutexLock lock(&mutex_);
  while (!news_.stop && !news_.changed && news_.attempts.empty() &&
         options_.clock->WaitUntil(&changed_, &mutex_, until)) {
  }
  News news = std::move(news_);
  news_ = News{.stop = news.stop};
  return news;
}

void BatchRunner::Loop() {
  bool changed = true;
  bool more = true;
  while (true) {
    News news = Await(more ? absl::InfinitePast() : NextTime());
    for (const uint64_t id : news.attempts) ReadAttempt(id);
    const bool written = WriteEnded();
    if (news.stop) break;
    changed = changed || news.changed;
    more = false;
    if (written && options_.clock->Now() >= store_again_) {
      changed = LookAround() || changed;
      if (changed) changed = !ReadBatches();
      for (auto it = batches_.begin(); it != batches_.end();) {
        Batch& batch = (it++)->second;  // Step may erase it
        more = Step(batch) || more;
      }
      SendLines();
      Sweep();
    }
    ShowLevels();
  }
  // Cancelled, and waiting in the store for the next process.
  GiveBackLines();
  attempts_.clear();
}

bool BatchRunner::Did(const absl::Status& status) {
  if (status.ok()) return true;
  options_.metrics->store_errors.Get().Increment();
  base::Log(base::LogLevel::kError, "batches", base::StdView(status.message()));
  store_again_ = options_.clock->Now() + kStoreRetry;
  look_at_ = keep_at_ = absl::InfinitePast();  // the others may have gone on meanwhile, or taken this one for dead
  return false;
}

void BatchRunner::ReadAttempt(uint64_t id) {
  const auto found = attempts_.find(id);
  if (found == attempts_.end() || found->second.ended.has_value()) return;
  Attempt& attempt = found->second;
  std::optional<LineOutcome> outcome = attempt.running->Advance();
  if (!outcome.has_value()) return;
  attempt.running.reset();
  if (!outcome->status.ok() && MayReturn(outcome->status)) {
    Attempt refused = std::move(attempt);
    attempts_.erase(found);
    return PutBack(std::move(refused), outcome->status);
  }
  window_.OnAnswer();
  attempt.ended = {attempt.batch, attempt.line.at.number, outcome->status.ok(), std::move(outcome->result)};
}

void BatchRunner::PutBack(Attempt attempt, const absl::Status& refusal) {
  options_.metrics->lines.At(BatchMetrics::kPutBack).Increment();
  const request::ErrorDetail detail = request::GetErrorDetail(refusal);
  const absl::Time now = options_.clock->Now();
  const absl::Duration wait = detail.retry_after.value_or(kUnknownRetry);
  Batch& batch = batches_.at(attempt.batch);
  --batch.in_flight;
  if (detail.reason == Reason::kTenantQuota) {
    absl::Time& until = held_[batch.row.owner];
    until = std::max(until, now + wait);
  } else {
    window_.OnRefusal(attempt.sent, now, wait);
  }
  ++attempt.line.attempts;
  attempt.line.ticket = detail.ticket;
  batch.ready.push_front(std::move(attempt.line));
}

bool BatchRunner::WriteEnded() {
  std::vector<uint64_t> ids;
  std::vector<EndedLine> lines;
  for (auto& [id, attempt] : attempts_) {
    if (!attempt.ended.has_value()) continue;
    ids.push_back(id);
    lines.push_back(*attempt.ended);
  }
  if (lines.empty()) return true;
  if (options_.clock->Now() < store_again_) return false;
  const auto late =
      options_.store->Ask<std::vector<size_t>>([&](Tables& tables) { return tables.batches.EndLines(lines); });
  if (!Did(late.status())) return false;
  for (size_t i = 0; i < ids.size(); ++i) {
    const bool completed = lines[i].completed;
    const bool is_late = std::find(late->begin(), late->end(), i) != late->end();
    options_.metrics->lines
        .At(is_late     ? BatchMetrics::kLate
            : completed ? BatchMetrics::kCompleted
                        : BatchMetrics::kFailed)
        .Increment();
    Batch& batch = batches_.at(lines[i].batch);
    --batch.in_flight;
    batch.end_at = absl::InfinitePast();  // it may have been the last one
    if (!is_late) ++(completed ? batch.row.completed : batch.row.failed);
    attempts_.erase(ids[i]);
  }
  return true;
}

bool BatchRunner::Step(Batch& batch) {
  if (batch.row.status == BatchStatus::kCancelling || options_.unix_seconds() >= batch.row.expires) {
    DropAttempts(batch);
    End(batch, batch.row.status == BatchStatus::kCancelling ? BatchStatus::kCancelled : BatchStatus::kExpired);
    return false;
  }
  if (batch.row.status == BatchStatus::kValidating) return Validate(batch);
  batch.reader = nullptr;  // another replica may have read it to its end
  if (options_.store->options().shared()) {
    // Lines are taken when they can be sent. Whether others still have some the store knows.
    const absl::Time now = options_.clock->Now();
    if (!batch.ready.empty() || batch.in_flight > 0 || now < batch.end_at) return false;
    batch.end_at = now + kLookEvery;
    End(batch, BatchStatus::kCompleted);
    return false;
  }
  if (FillReady(batch) && batch.ready.empty() && batch.in_flight == 0) End(batch, BatchStatus::kCompleted);
  return false;
}

bool BatchRunner::Validate(Batch& batch) {
  BatchStore& store = *options_.store;
  const int64_t number = batch.row.number;
  if (batch.reader == nullptr) {
    // An earlier process may have come some way; another replica may be at it.
    if (options_.clock->Now() < batch.ask_at || (store.options().shared() && draining())) return false;
    const absl::StatusOr<bool> mine =
        store.Ask<bool>([&](Tables& tables) { return tables.batches.BeginReading(number); });
    if (!Did(mine.status())) return false;
    if (!*mine) {
      batch.ask_at = options_.clock->Now() + kLookEvery;
      return false;
    }
    const BatchOptions& limits = store.options();
    batch.reader =
        std::make_unique<InputReader>(batch.row.endpoint, InputReader::Limits{limits.max_lines, limits.max_line_bytes});
    batch.read_to = 0;
  }
  const StoredFile input = {.number = batch.row.input_number};
  const absl::StatusOr<ContentPiece> piece =
      store.Ask<ContentPiece>([&](Tables& tables) { return tables.files.Read(input, batch.read_to); });
  if (!Did(piece.status())) return false;
  std::vector<WaitingLine> lines;
  batch.reader->Feed(piece->bytes, piece->end, &lines);
  if (batch.reader->errors().empty() && !lines.empty()) {
    std::optional<BatchError> repeated;
    const absl::Status added =
        store.Run([&](Tables& tables) { return tables.batches.AddLines(number, lines, &repeated); });
    if (absl::IsAborted(added) || !Did(added)) {
      batch.reader = nullptr;  // from the beginning
      return false;
    }
    if (repeated.has_value()) batch.reader->Fail(*std::move(repeated));
  }
  batch.read_to = piece->next;
  if (!piece->end && !batch.reader->gave_up()) return true;

  const int64_t now = options_.unix_seconds();
  if (!batch.reader->errors().empty()) {
    const std::vector<BatchError>& errors = batch.reader->errors();
    const absl::Status failed = store.Run([&](Tables& tables) { return tables.batches.Fail(number, errors, now); });
    if (!absl::IsAborted(failed) && Did(failed)) {
      batches_.erase(number);
    } else {
      batch.reader = nullptr;
    }
    return false;
  }
  batch.reader = nullptr;
  if (!Did(store.Ask<bool>([&](Tables& tables) { return tables.batches.Begin(number, now); }).status())) return false;
  Wake();  // it has another status now: this one, or that it is to be cancelled
  return false;
}

void BatchRunner::DropAttempts(Batch& batch) {
  for (auto it = attempts_.begin(); it != attempts_.end();) {
    it = it->second.batch == batch.row.number ? attempts_.erase(it) : std::next(it);
  }
  batch.in_flight = 0;
  batch.ready.clear();
}

void BatchRunner::End(Batch& batch, BatchStatus status) {
  const int64_t now = options_.unix_seconds();
  const StoredBatch row = batch.row;
  const absl::StatusOr<bool> ended =
      options_.store->Ask<bool>([&](Tables& tables) { return tables.batches.End(row, status, now); });
  if (Did(ended.status()) && *ended) batches_.erase(row.number);
}

bool BatchRunner::FillReady(Batch& batch) {
  const bool shared = options_.store->options().shared();
  if (!batch.ready.empty() || (shared ? options_.clock->Now() < batch.ask_at : batch.all_taken)) return true;
  // What others could send is left to them.
  const int64_t limit =
      shared ? std::max<int64_t>(1, window_.size() - static_cast<int64_t>(attempts_.size())) : kLinesAtATime;
  const std::vector<int64_t> held = LinesOf(batch);
  const auto lines = options_.store->Ask<std::vector<WaitingLine>>(
      [&](Tables& tables) { return tables.batches.Take(batch.row.number, batch.taken_to, limit, held); });
  if (!Did(lines.status())) return false;
  for (const WaitingLine& line : *lines) {
    if (line.taken_over) options_.metrics->taken_over.Get().Increment();
    batch.ready.push_back({.at = line});
  }
  batch.all_taken = lines->empty();
  if (!lines->empty()) batch.taken_to = lines->back().number;
  if (lines->empty()) batch.ask_at = options_.clock->Now() + kLookEvery;
  return true;
}

BatchRunner::Batch* BatchRunner::NextToSend() {
  const absl::Time now = options_.clock->Now();
  std::erase_if(held_, [&](const auto& held) { return held.second <= now; });
  // From the batch behind the last one on, all around.
  auto it = batches_.upper_bound(last_sent_);
  for (size_t seen = 0; seen < batches_.size(); ++seen, ++it) {
    if (it == batches_.end()) it = batches_.begin();
    Batch& batch = it->second;
    if (batch.row.status != BatchStatus::kInProgress || held_.count(batch.row.owner) != 0) continue;
    if (!FillReady(batch)) return nullptr;
    if (!batch.ready.empty()) return &batch;
  }
  return nullptr;
}

bool BatchRunner::draining() {
  base::MutexLock lock(&mutex_);
  return draining_;
}

void BatchRunner::SendLines() {
  if (draining()) return;
  const bool others = options_.executor->OthersCome();
  while (window_.MayStart(static_cast<int>(attempts_.size()), options_.clock->Now(), others)) {
    Batch* const batch = NextToSend();
    if (batch == nullptr || !Send(*batch)) return;
  }
}

bool BatchRunner::Send(Batch& batch) {
  const StoredBatch& row = batch.row;
  const WaitingLine& at = batch.ready.front().at;
  const absl::StatusOr<std::string> text = options_.store->Ask<std::string>(
      [&](Tables& tables) { return tables.files.ReadRange(row.input_number, at.offset, at.length); });
  if (!Did(text.status())) return false;
  absl::StatusOr<InputLine> input = ParseInputLine(*text, at.number, row.endpoint);
  if (!Did(input.status())) return false;  // it was valid once: what is on the disk has changed
  last_sent_ = row.number;
  const uint64_t id = next_attempt_++;
  Attempt& attempt = attempts_[id];
  attempt.batch = row.number;
  attempt.sent = options_.clock->Now();
  attempt.line = std::move(batch.ready.front());
  batch.ready.pop_front();
  ++batch.in_flight;
  LineRequest request = {.owner = row.owner,
                         .endpoint = row.endpoint,
                         .custom_id = std::move(input->custom_id),
                         .body = std::move(input->body),
                         .attempts = attempt.line.attempts,
                         .ticket = attempt.line.ticket,
                         .return_key = absl::HashOf(row.id, attempt.line.at.number) | 1};
  attempt.running = options_.executor->Start(std::move(request), [this, id] {
    base::MutexLock lock(&mutex_);
    news_.attempts.insert(id);
    changed_.NotifyAll();
  });
  ReadAttempt(id);  // it may have been refused at the door
  return true;
}

void BatchRunner::Sweep() {
  const absl::Time now = options_.clock->Now();
  if (now < sweep_at_) return;
  sweep_at_ = now + kSweepEvery;
  const int64_t unix_now = options_.unix_seconds();
  (void)Did(options_.store->Run([&](Tables& tables) -> absl::Status {
    absl::Status status = tables.files.DeleteExpired(unix_now);
    return status.ok() ? tables.batches.DeleteOld(unix_now) : status;
  }));
}

void BatchRunner::ShowLevels() {
  int64_t waiting = 0;
  double oldest = 0;
  const int64_t now = options_.unix_seconds();
  for (const auto& [number, batch] : batches_) {
    const int64_t window = std::max<int64_t>(batch.row.expires - batch.row.created, 1);
    const double used = static_cast<double>(now - batch.row.created) / static_cast<double>(window);
    oldest = std::max(oldest, std::min(used, 1.0));
    waiting += batch.row.total - batch.row.completed - batch.row.failed - batch.in_flight;
  }
  BatchMetrics& metrics = *options_.metrics;
  metrics.open_lines.At(BatchMetrics::kWaiting).Set(static_cast<double>(std::max<int64_t>(waiting, 0)));
  metrics.open_lines.At(BatchMetrics::kRunning).Set(static_cast<double>(attempts_.size()));
  metrics.oldest_window.Get().Set(oldest);
  metrics.batches.Get().Set(static_cast<double>(batches_.size()));
  metrics.window.Get().Set(window_.size());
}

absl::Time BatchRunner::NextTime() const {
  const absl::Time now = options_.clock->Now();
  absl::Time next = options_.store->options().shared() ? std::min(sweep_at_, look_at_) : sweep_at_;
  if (store_again_ > now) return store_again_;
  for (const auto& [id, attempt] : attempts_) {
    if (attempt.ended.has_value()) return now;  // refused for good when it was sent
  }
  bool ready = false;
  for (const auto& [number, batch] : batches_) {
    next = std::min(next, now + absl::Seconds(std::max<int64_t>(batch.row.expires - options_.unix_seconds(), 0)));
    ready = ready || !batch.ready.empty();
  }
  if (!ready) return next;
  if (window_.not_before() > now) next = std::min(next, window_.not_before());
  for (const auto& [owner, until] : held_) next = std::min(next, until);
  return next;
}

}  // namespace hadal::batches
