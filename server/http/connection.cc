// SPDX-License-Identifier: Apache-2.0
#include "server/http/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "absl/strings/str_format.h"
#include "server/base/network.h"
#include "server/http/await.h"
#include "server/request/refusal.h"
#include "server/request/request_id.h"
#include "server/request/retry_spread.h"

namespace hadal::http {
namespace {

namespace asio = boost::asio;
using request::MakeError;
using request::Reason;

// Unread body that is read on after an early response, so that the connection can be kept.
constexpr int64_t kMaxDiscardBytes = 1 << 20;
// Bytes of the following request that are kept while one is being served.
constexpr size_t kMaxPipelinedBytes = 64 << 10;
// A connection that gives way: how long its client may take to make room for the response, and how many reads of bytes
// that are there already.
constexpr absl::Duration kGiveWayTimeout = absl::Milliseconds(100);
constexpr int kMaxGiveWayReads = 16;
// How often a client with such bytes pending is asked whether it is still there.
constexpr auto kHangUpPoll = std::chrono::milliseconds(250);

// Chunk sizes are written into a fixed place in front of the piece; leading zeros are allowed.
constexpr std::string_view kChunkPlace = "00000000\r\n";

}  // namespace

Connection::Connection(Listener::Accepted accepted, ServerContext* context)
    : socket_(std::move(accepted.socket)),
      place_(std::move(accepted.place)),
      context_(context),
      peer_(std::move(accepted.peer)),
      event_(std::make_shared<AsyncEvent>(socket_.get_executor())),
      watchdog_(socket_.get_executor()),
      watch_timer_(socket_.get_executor()) {}

Connection::~Connection() = default;

void Connection::KeepPlace() {
  place_.SetClose([weak = weak_from_this(), executor = socket_.get_executor()] {
    asio::post(executor, [weak] {
      const std::shared_ptr<Connection> self = weak.lock();
      if (self != nullptr) self->GiveWay();
    });
  });
}

// A client that is sending a request is told why it goes no further.
void Connection::GiveWay() {
  gave_way_ = true;
  const bool arriving = reader_ != nullptr && (reader_->state() == RequestReader::State::kHead ||
                                               reader_->state() == RequestReader::State::kBody);
  if (idle_ || responded_ || !arriving) return Abort();
  boost::system::error_code ignored;
  socket_.cancel(ignored);  // the read that waits; none is begun any more
}

void Connection::Abort() {
  aborted_ = true;
  disconnected_ = true;
  boost::system::error_code ignored;
  socket_.cancel(ignored);
  event_->Set();
}

absl::Status Connection::disconnect_status() const {
  if (!gave_way_) return MakeError(Reason::kCancelled, "the client is gone");
  return request::MakeBusy(Reason::kConnectionLimit, "the connection waited for bytes and gave way to another",
                           request::SpreadOut(absl::Seconds(1)));
}

void Connection::CloseIfIdle() {
  boost::system::error_code ignored;
  if (idle_) socket_.cancel(ignored);  // ReadHead decides
}

asio::awaitable<void> Connection::Run(Handler handler) {
  bool first = true;
  while (!aborted_) {
    reader_ = std::make_unique<RequestReader>(
        RequestReader::Limits{context_->options.max_header_bytes, context_->options.max_target_bytes,
                              context_->options.front.max_body_bytes, context_->upload_bytes()});
    responded_ = false;
    keep_alive_ = false;
    const bool has_head = co_await ReadHead(first);
    if (!has_head) break;
    first = false;
    request_id_ = request::RequestIdFor(head().request_id);
    trace_response_.clear();
    keep_alive_ = reader_->state() != RequestReader::State::kError && head().keep_alive && !context_->draining.load();
    co_await handler(*this);
    StopWatching();
    if (!responded_ || !keep_alive_ || aborted_ || disconnected_) break;
    if (reader_->state() != RequestReader::State::kDone) break;
    rest_ = reader_->TakeRest() + rest_;
  }
  boost::system::error_code ignored;
  watchdog_.cancel();
  watch_timer_.cancel();
  socket_.shutdown(Listener::Socket::shutdown_both, ignored);
  socket_.close(ignored);
}

asio::awaitable<bool> Connection::ReadHead(bool first) {
  idle_ = rest_.empty();
  if (idle_) {
    bool begun = false;
    if (first || !context_->draining.load()) {
      // A kept connection may rest; the clock of the request starts with its first byte.
      // The first bytes of a connection have been seen already.
      place_.Enter(first ? ConnectionTable::Phase::kHead : ConnectionTable::Phase::kIdle, Clock::now());
      SetDeadline(first ? context_->options.request_timeout : context_->options.idle_timeout);
      begun = co_await ReadSome();
    }
    // A drain ends the connections that rest, but none whose request has come by then: its client would not know
    // whether it was taken.
    if (!begun && context_->draining.load()) begun = TakeArrived();
    if (!begun) co_return false;
    idle_ = false;
  }
  place_.Enter(ConnectionTable::Phase::kHead, Clock::now());
  SetDeadline(context_->options.request_timeout);
  while (true) {
    reader_->Feed(std::exchange(rest_, {}));
    if (reader_->state() != RequestReader::State::kHead) break;
    const bool more = co_await ReadSome();
    if (more) continue;
    if (gave_way_) {
      co_await Send(ErrorResponse(disconnect_status(), 503));
    } else if (timed_out_) {
      timed_out_ = false;
      co_await Send(
          ErrorResponse(MakeError(Reason::kRequestTimeout, "the request's head did not arrive in time"), 503));
    }
    co_return false;
  }
  ClearDeadline();
  place_.Enter(ConnectionTable::Phase::kBusy, Clock::now());
  co_return true;
}

// Appends to rest_. False when the client is gone or the time is up.
asio::awaitable<bool> Connection::ReadSome() {
  if (aborted_ || gave_way_) co_return false;
  auto [error, size] = co_await socket_.async_read_some(asio::buffer(read_buffer_), kAwait);
  if (error || aborted_ || gave_way_) co_return false;
  rest_.append(read_buffer_.data(), size);
  place_.Touch(Clock::now());
  co_return true;
}

bool Connection::TakeArrived() {
  if (aborted_ || gave_way_ || timed_out_) return false;
  const ssize_t size = ::recv(socket_.native_handle(), read_buffer_.data(), read_buffer_.size(), MSG_DONTWAIT);
  if (size <= 0) return false;
  rest_.append(read_buffer_.data(), static_cast<size_t>(size));
  place_.Touch(Clock::now());
  return true;
}

void Connection::EndWithDrain() {
  if (!context_->draining.load() || reader_->state() != RequestReader::State::kDone) return;
  rest_ = reader_->TakeRest() + rest_;
  if (rest_.empty() && !TakeArrived()) keep_alive_ = false;
}

asio::awaitable<void> Connection::Send(Response response) {
  StopWatching();
  responded_ = true;
  EndWithDrain();
  const bool unread =
      reader_->state() == RequestReader::State::kBody || reader_->state() == RequestReader::State::kError;
  bool discard = false;
  if (reader_->state() == RequestReader::State::kBody) {
    // A client that waits for 100 Continue may send the body or not: nobody can tell where the next request begins.
    discard = keep_alive_ && !head().expect_continue && !head().chunked &&
              head().content_length.value_or(0) - reader_->body_bytes() <= kMaxDiscardBytes;
    if (!discard) keep_alive_ = false;
  } else if (reader_->state() != RequestReader::State::kDone) {
    keep_alive_ = false;
  }

  std::string text = FormatHead(response.status, response.content_type, response.headers);
  if (response.status != 204 && response.status != 304)
    text += absl::StrFormat("content-length: %d\r\n", response.body.size());
  text += "\r\n";
  if (head().method != "HEAD") text += response.body;
  place_.Enter(ConnectionTable::Phase::kBusy, Clock::now());
  const bool sent = co_await Write(text);
  if (!sent) co_return;
  if (!keep_alive_) place_.Enter(ConnectionTable::Phase::kClosing, Clock::now());
  if (discard) {
    place_.Enter(ConnectionTable::Phase::kBody, Clock::now());
    reader_->DiscardBody();
    const BodyPace pace(context_->options.BodyLimits(), Clock::now());
    reader_->Feed({});
    while (reader_->state() == RequestReader::State::kBody) {
      const bool more = co_await ReadMoreBody(pace);
      if (!more) break;
    }
  } else if (unread) {
    co_await Linger();
  }
}

// Closes our side and reads what still comes: closing with unread bytes would make the kernel reset the connection, and
// the client would lose the response.
asio::awaitable<void> Connection::Linger() {
  boost::system::error_code ignored;
  socket_.shutdown(Listener::Socket::shutdown_send, ignored);
  if (gave_way_) {  // another connection waits for the place
    for (int i = 0; i < kMaxGiveWayReads; ++i) {
      if (::recv(socket_.native_handle(), read_buffer_.data(), read_buffer_.size(), MSG_DONTWAIT) <= 0) break;
    }
    co_return;
  }
  SetDeadline(context_->options.linger_timeout);
  while (!aborted_) {
    auto [error, size] = co_await socket_.async_read_some(asio::buffer(read_buffer_), kAwait);
    if (error) break;
  }
  ClearDeadline();
}

asio::awaitable<bool> Connection::BeginStream(std::string_view content_type, Headers headers, int status) {
  responded_ = true;
  EndWithDrain();
  chunked_ = !head().http_1_0;
  if (!chunked_) keep_alive_ = false;
  headers.emplace_back("cache-control", "no-cache");
  headers.emplace_back("x-accel-buffering", "no");
  std::string text = FormatHead(status, content_type, headers);
  text += chunked_ ? "transfer-encoding: chunked\r\n\r\n" : "\r\n";
  co_return co_await Write(text);
}

asio::awaitable<bool> Connection::WriteStream(std::string* piece) {
  if (piece->empty()) co_return true;
  if (chunked_) {
    constexpr char kHex[] = "0123456789abcdef";
    size_t size = piece->size();
    piece->insert(0, kChunkPlace);
    for (size_t digit = 8; digit-- > 0; size >>= 4) (*piece)[digit] = kHex[size & 15];
    piece->append("\r\n");
  }
  const bool sent = co_await Write(*piece);
  piece->clear();
  co_return sent;
}

asio::awaitable<void> Connection::EndStream(bool complete) {
  if (!complete) keep_alive_ = false;
  if (chunked_) co_await Write("0\r\n\r\n");
}

asio::awaitable<bool> Connection::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    if (aborted_) co_return false;
    SetDeadline(gave_way_ ? kGiveWayTimeout : context_->options.front.stream.slow_reader_timeout);
    auto [error, size] = co_await socket_.async_write_some(asio::buffer(bytes.data(), bytes.size()), kAwait);
    if (error) {
      write_timed_out_ = timed_out_;
      keep_alive_ = false;
      ClearDeadline();
      co_return false;
    }
    bytes.remove_prefix(size);
  }
  ClearDeadline();
  co_return true;
}

void Connection::SetDeadline(Clock::time_point deadline) {
  timed_out_ = false;
  deadline_ = deadline;
  if (!watchdog_armed_ || watchdog_.expiry() > deadline_) ArmWatchdog();
}

// One timer a connection, moved only when it fires: operations that end in time cost no timer.
void Connection::ArmWatchdog() {
  watchdog_armed_ = true;
  watchdog_.expires_at(deadline_);
  watchdog_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const std::shared_ptr<Connection> self = weak.lock();
    if (self == nullptr || error) return;
    self->watchdog_armed_ = false;
    if (self->deadline_ == Clock::time_point::max()) return;
    if (self->deadline_ > Clock::now()) {
      self->ArmWatchdog();
      return;
    }
    self->deadline_ = Clock::time_point::max();
    self->timed_out_ = true;
    boost::system::error_code ignored;
    self->socket_.cancel(ignored);
  });
}

void Connection::WatchDisconnect() {
  watching_ = true;
  const uint64_t number = ++watch_number_;
  socket_.async_wait(Listener::Socket::wait_read,
                     asio::bind_cancellation_slot(watch_cancel_.slot(), [weak = weak_from_this(), number](
                                                                            const boost::system::error_code& error) {
                       const std::shared_ptr<Connection> self = weak.lock();
                       if (self != nullptr && !error && self->watching_ && self->watch_number_ == number)
                         self->OnReadable();
                     }));
}

void Connection::OnReadable() {
  const auto gone = [this] {
    disconnected_ = true;
    watching_ = false;
    boost::system::error_code ignored;
    socket_.cancel(ignored);  // a write that waits for this client ends too
    event_->Set();
  };
  if (base::PeerHungUp(socket_.native_handle())) return gone();
  if (rest_.size() < kMaxPipelinedBytes) {
    const ssize_t size = ::recv(socket_.native_handle(), read_buffer_.data(), read_buffer_.size(), MSG_DONTWAIT);
    if (size == 0 || (size < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) return gone();
    if (size > 0) rest_.append(read_buffer_.data(), static_cast<size_t>(size));
    return WatchDisconnect();
  }
  // The next requests wait in the socket: readiness says nothing any more, so ask now and then.
  watch_timer_.expires_after(kHangUpPoll);
  watch_timer_.async_wait([weak = weak_from_this(), number = watch_number_](const boost::system::error_code& error) {
    const std::shared_ptr<Connection> self = weak.lock();
    if (self != nullptr && !error && self->watching_ && self->watch_number_ == number) self->OnReadable();
  });
}

void Connection::StopWatching() {
  if (!watching_) return;
  watching_ = false;
  watch_timer_.cancel();
  watch_cancel_.emit(asio::cancellation_type::all);
}

}  // namespace hadal::http
