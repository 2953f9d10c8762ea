// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/active_count.h"
#include "server/http/async_event.h"
#include "server/http/codec/response.h"
#include "server/http/http_server.h"
#include "server/http/listener.h"
#include "server/http/request_body.h"
#include "server/http/request_reader.h"

namespace hadal::http {

class Connection;

// What all connections share. Counters and flags are thread-safe; the rest does not change after the start.
struct ServerContext {
  HttpOptions options;
  HttpServer::Dependencies dependencies;
  std::atomic<bool> draining{false};
  base::ActiveCount active_calls;
  base::ActiveCount open_connections;
  std::atomic<uint64_t> next_request{0};

  // RequestReader::Limits::upload_bytes: a file of the largest size, and the form around it.
  int64_t upload_bytes() const {
    constexpr int64_t kFormBytes = 64 << 10;
    return dependencies.batches == nullptr ? 0 : dependencies.batches->options().max_file_bytes + kFormBytes;
  }
};

// Handles one request of a connection, of which the head has been read.
using Handler = std::function<boost::asio::awaitable<void>(Connection&)>;

// GCC 12 miscompiles a coroutine with a co_await inside the condition of an if or a loop (its frame is laid out in two
// ways): here and in the handlers the result always goes into a variable first; tests/arch checks it.
//
// One HTTP/1.1 connection: reads requests one after the other, lets the handler respond to each, keeps the socket's
// time limits. Lives on one I/O thread, and only that thread touches it. Held by shared_ptr: by its coroutine and by
// pending operations.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // `accepted.socket` belongs to the connection's thread.
  Connection(Listener::Accepted accepted, ServerContext* context);
  ~Connection();

  // Serves until the connection ends.
  boost::asio::awaitable<void> Run(Handler handler);
  // Ends everything now: what waits is cancelled, and nothing new is begun.
  void Abort();
  // From now on the connection gives way when another needs its place; until LeavePlace, the last thing of its life.
  void KeepPlace();
  void LeavePlace() { place_.Release(); }
  // Drain: ends it when no request is under way and none has arrived.
  void CloseIfIdle();

  // --- for the handler ---
  const ServerContext& context() const { return *context_; }
  ServerContext& mutable_context() { return *context_; }
  const RequestHead& head() const { return reader_->head(); }
  // The request that could not be read, or Ok.
  const absl::Status& read_error() const { return reader_->error(); }
  bool target_too_long() const { return reader_->target_too_long(); }
  const std::string& request_id() const { return request_id_; }
  // For the header traceresponse of this request's response; empty: none.
  void SetTraceResponse(std::string text) { trace_response_ = std::move(text); }
  // The network that the client comes from (base::NetworkOf).
  const std::string& network() const { return peer_.network; }
  // Client certificates are required and the client has presented none: only routes without keys are available.
  bool lacks_certificate() const { return peer_.lacks_certificate; }

  // Reads the rest of the request, after 100 Continue when the client waits for it.
  // `sender` answers for its bytes (service::SenderOf). CANCELLED: the client is gone. REQUEST_TIMEOUT: the bytes do
  // not come. CONNECTION_LIMIT: it gives way. BODY_BUDGET_FULL: no room for them. INVALID_REQUEST, BODY_TOO_LARGE: as
  // RequestReader.
  boost::asio::awaitable<absl::Status> ReadBody(std::string_view sender, RequestBody* body);
  // The rest of an upload, piece by piece, for one that keeps no more than that: BeginPieces, then ReadPiece until it
  // gives nothing. Errors are those of ReadBody.
  boost::asio::awaitable<absl::Status> BeginPieces(std::string_view sender, service::BodyBudget::Lease* lease);
  boost::asio::awaitable<absl::Status> ReadPiece(const BodyPace& pace, std::string* piece);
  // From now on the event is set when the client disconnects (see disconnected()).
  void WatchDisconnect();
  bool disconnected() const { return disconnected_; }
  // Why, once disconnected: CANCELLED, the client is gone; or CONNECTION_LIMIT, the connection gave way to another.
  absl::Status disconnect_status() const;
  // The last write failed because the client did not read in time.
  bool write_timed_out() const { return write_timed_out_; }
  AsyncEvent& event() { return *event_; }
  std::shared_ptr<AsyncEvent> shared_event() { return event_; }

  // The response will be the connection's last.
  void CloseAfterResponse() { keep_alive_ = false; }
  // A complete response. An unread body is read on for a while, so that the client sees the response and not a reset.
  boost::asio::awaitable<void> Send(Response response);
  // A response in pieces. False: the client is gone or too slow; nothing more can be sent.
  boost::asio::awaitable<bool> BeginStream(std::string_view content_type, Headers headers = {}, int status = 200);
  // `piece` is used up.
  boost::asio::awaitable<bool> WriteStream(std::string* piece);
  // `complete` false: the response ended with an error, and the connection ends with it.
  boost::asio::awaitable<void> EndStream(bool complete);

 private:
  using Clock = std::chrono::steady_clock;

  // Ends it so that another connection gets its place.
  void GiveWay();
  boost::asio::awaitable<bool> ReadHead(bool first);
  boost::asio::awaitable<bool> ReadSome();
  // As ReadSome, of what is there already. False: nothing is.
  bool TakeArrived();
  // In a drain the response is the connection's last, unless the next request has arrived.
  void EndWithDrain();
  // The client waits for 100 Continue where it asked for it. False: it is gone.
  boost::asio::awaitable<bool> Continue();
  // Why the body did not arrive completely: the client disconnected, was too slow, or was evicted.
  absl::Status BodyEnded(const BodyPace& pace);
  // More of the body, by the deadline of its pace.
  boost::asio::awaitable<bool> ReadMoreBody(const BodyPace& pace);
  boost::asio::awaitable<bool> Write(std::string_view bytes);
  boost::asio::awaitable<void> Linger();
  void SetDeadline(absl::Duration timeout) { SetDeadline(Clock::now() + absl::ToChronoMicroseconds(timeout)); }
  void SetDeadline(Clock::time_point deadline);
  void ClearDeadline() { deadline_ = Clock::time_point::max(); }
  void ArmWatchdog();
  void OnReadable();
  void StopWatching();
  std::string FormatHead(int status, std::string_view content_type, const Headers& headers);

  Listener::Socket socket_;
  ConnectionTable::Handle place_;
  ServerContext* const context_;
  const base::Peer peer_;
  std::shared_ptr<AsyncEvent> event_;
  boost::asio::steady_timer watchdog_;
  Clock::time_point deadline_ = Clock::time_point::max();
  bool watchdog_armed_ = false;
  bool timed_out_ = false;
  bool write_timed_out_ = false;
  bool aborted_ = false;
  bool gave_way_ = false;

  std::unique_ptr<RequestReader> reader_;
  std::string rest_;  // bytes behind the last request
  std::string request_id_;
  std::string trace_response_;
  std::array<char, 8 << 10> read_buffer_;
  bool idle_ = true;  // between requests
  bool responded_ = false;
  bool keep_alive_ = true;
  bool chunked_ = false;  // the stream under way

  boost::asio::cancellation_signal watch_cancel_;
  boost::asio::steady_timer watch_timer_;
  bool watching_ = false;
  uint64_t watch_number_ = 0;
  bool disconnected_ = false;
};

}  // namespace hadal::http
