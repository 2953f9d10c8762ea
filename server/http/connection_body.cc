// SPDX-License-Identifier: Apache-2.0
// How a request's body is read: whole, or in pieces.
#include <utility>

#include "absl/strings/str_format.h"
#include "server/http/connection.h"
#include "server/request/refusal.h"

namespace hadal::http {
namespace {

namespace asio = boost::asio;
using request::MakeError;
using request::Reason;

// An upload's bytes that are read before they are taken on, and what it may take in memory: those, and as many on their
// way to the disk.
constexpr int64_t kPieceBytes = 64 << 10;
constexpr int64_t kLeasedPieceBytes = 1 << 20;

absl::Status BodyTimeout(int64_t bytes, absl::Duration elapsed, const BodyPace::Limits& limits) {
  return MakeError(
      Reason::kRequestTimeout,
      absl::StrFormat("the request's body did not arrive in time: %d bytes in %.1f s; it must bring a byte "
                      "every %.1f s and %d bytes a second, and be complete within %.0f s",
                      bytes, absl::ToDoubleSeconds(elapsed), absl::ToDoubleSeconds(limits.stall_timeout),
                      limits.min_bytes_per_second, absl::ToDoubleSeconds(limits.total_timeout)));
}

}  // namespace

asio::awaitable<bool> Connection::ReadMoreBody(const BodyPace& pace) {
  SetDeadline(pace.Deadline(reader_->body_bytes(), Clock::now()));
  const bool more = co_await ReadSome();
  ClearDeadline();
  if (more) reader_->Feed(std::exchange(rest_, {}));
  co_return more;
}

asio::awaitable<bool> Connection::Continue() {
  const bool waits = head().expect_continue && reader_->state() == RequestReader::State::kBody && rest_.empty();
  if (!waits) co_return true;
  co_return co_await Write("HTTP/1.1 100 Continue\r\n\r\n");
}

absl::Status Connection::BodyEnded(const BodyPace& pace) {
  if (!timed_out_ && (!gave_way_ || aborted_)) {
    disconnected_ = true;
    return disconnect_status();
  }
  timed_out_ = false;
  keep_alive_ = false;
  reader_->DiscardBody();
  if (gave_way_) return disconnect_status();
  return BodyTimeout(reader_->body_bytes(), absl::FromChrono(Clock::now() - pace.begin()), pace.limits());
}

asio::awaitable<absl::Status> Connection::BeginPieces(std::string_view sender, service::BodyBudget::Lease* lease) {
  reader_->Feed({});
  absl::StatusOr<service::BodyBudget::Lease> opened = context_->dependencies.service->bodies().Open(sender);
  if (!opened.ok()) co_return opened.status();
  *lease = *std::move(opened);
  if (absl::Status status = lease->Resize(kLeasedPieceBytes); !status.ok()) co_return status;
  const bool goes_on = co_await Continue();
  if (!goes_on) co_return MakeError(Reason::kCancelled, "the client is gone");
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> Connection::ReadPiece(const BodyPace& pace, std::string* piece) {
  place_.Enter(ConnectionTable::Phase::kBody, Clock::now());
  while (reader_->state() == RequestReader::State::kBody && reader_->kept_bytes() < kPieceBytes) {
    const bool more = co_await ReadMoreBody(pace);
    if (!more) co_return BodyEnded(pace);
  }
  place_.Enter(ConnectionTable::Phase::kBusy, Clock::now());
  if (reader_->state() == RequestReader::State::kError) co_return reader_->error();
  *piece = reader_->TakeBody();
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> Connection::ReadBody(std::string_view sender, RequestBody* body) {
  reader_->Feed({});
  service::BodyBudget& bodies = context_->dependencies.service->bodies();
  absl::StatusOr<service::BodyBudget::Lease> lease =
      reader_->state() == RequestReader::State::kDone ? bodies.OpenArrived(sender) : bodies.Open(sender);
  if (!lease.ok()) co_return lease.status();
  const bool goes_on = co_await Continue();
  if (!goes_on) co_return MakeError(Reason::kCancelled, "the client is gone");
  const Clock::time_point begin = Clock::now();
  const BodyPace pace(context_->options.BodyLimits(), begin);
  place_.Enter(ConnectionTable::Phase::kBody, begin);
  while (reader_->state() != RequestReader::State::kError) {
    if (absl::Status status = lease->Resize(reader_->held_bytes()); !status.ok()) {
      reader_->DiscardBody();
      co_return status;
    }
    if (reader_->state() == RequestReader::State::kDone) break;
    const bool more = co_await ReadMoreBody(pace);
    if (more) continue;
    co_return BodyEnded(pace);
  }
  place_.Enter(ConnectionTable::Phase::kBusy, Clock::now());
  if (reader_->state() == RequestReader::State::kError) co_return reader_->error();
  lease->Arrived();
  *body = {*std::move(lease), reader_->TakeBody()};
  co_return absl::OkStatus();
}

}  // namespace hadal::http
