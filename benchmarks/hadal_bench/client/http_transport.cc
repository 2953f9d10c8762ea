// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/http_transport.h"

#include <boost/asio/post.hpp>
#include <deque>
#include <functional>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "benchmarks/hadal_bench/client/http_address.h"
#include "benchmarks/hadal_bench/client/http_connection.h"
#include "benchmarks/hadal_bench/client/sse_parser.h"
#include "server/base/strings.h"

namespace hadal::bench {
namespace {

constexpr size_t kMaxErrorBytes = 64 << 10;
constexpr size_t kMaxTicketBytes = 4096;

// A ticket is sent back as it came. One of a size that no server takes is left out.
std::string TicketOf(const ResponseHead& head) {
  std::string ticket = head.Find("x-hadal-ticket").value_or("");
  return ticket.size() <= kMaxTicketBytes ? ticket : std::string();
}

// One call: turns the parts of a response into the observer's events.
class HttpCall final : public ExchangeHandler {
 public:
  HttpCall(CallObserver* observer, std::function<void(HttpCall*)> ended)
      : observer_(observer), ended_(std::move(ended)) {}

  void OnSent() override { observer_->OnSent(); }

  void OnHead(const ResponseHead& head) override {
    result_.status = head.status;
    result_.advice = {.retry_after = head.Find("retry-after"),
                      .retry_after_ms = head.Find("retry-after-ms"),
                      .should_retry = head.Find("x-should-retry"),
                      .pushback_ms = std::nullopt,
                      .promise = head.Find("x-hadal-promise").value_or(""),
                      .ticket = TicketOf(head)};
    reason_header_ = head.Find("x-hadal-reason").value_or("");
    encoding_ = head.Find("content-encoding").value_or("");
    if (encoding_ == "identity") encoding_.clear();
    location_ = head.Find("location").value_or("");
    content_type_ = head.Find("content-type").value_or("");
    streamed_ = encoding_.empty() && content_type_.find("text/event-stream") != std::string::npos;
  }

  void OnBody(std::string_view bytes) override {
    if (result_.status != 200 || !streamed_) {
      if (body_.size() < kMaxErrorBytes) body_ += bytes;
      return;
    }
    const absl::Status status = sse_.Feed(bytes, [this](std::string_view data) {
      if (sse_.event() == "error") return answer_.OnErrorEvent(data);
      if (const size_t content = answer_.OnEvent(data); content > 0) observer_->OnContent(content);
    });
    if (!status.ok()) sse_failure_ = std::string(status.message());
  }

  void OnExchangeEnd(std::string_view reason, std::string_view message) override {
    if (result_.status == 0) {
      result_.reason = std::string(reason);
      result_.message = std::string(message);
    } else if (result_.status != 200) {
      ReadErrorBody(result_.status, reason_header_, body_, &result_);
      if (result_.status / 100 == 3 && !location_.empty()) {
        result_.message = absl::StrCat("the server redirects to ", location_, ", which --url should name");
      }
    } else if (!encoding_.empty()) {
      result_.reason = "content_encoding";
      result_.message = absl::StrCat("the answer is compressed (", encoding_, ") although nothing asked for that");
    } else if (!streamed_ && !ReadErrorOfSuccess(body_, &result_)) {
      result_.reason = "no_stream";
      result_.message = absl::StrCat("status 200 with '", content_type_,
                                     "' in place of text/event-stream: the server does not stream");
    } else if (!streamed_) {  // an error, whatever the status says
    } else {
      answer_.Finish(reason.empty() && sse_failure_.empty() && !sse_.in_event(), &result_);
      // Our own reasons (timeout, interrupted) say more than that the stream was cut.
      if (result_.end != CallEnd::kServed && !reason.empty() && reason != "connection_lost") {
        result_.reason = std::string(reason);
        result_.message = std::string(message);
      }
    }
    const CallResult result = std::move(result_);
    CallObserver* const observer = observer_;
    const std::function<void(HttpCall*)> ended = std::move(ended_);
    ended(this);  // deletes this
    observer->OnEnd(result);
  }

  uint64_t id = 0;
  std::shared_ptr<HttpConnection> connection;  // null while it waits for one
  std::string request;                         // until it is sent

 private:
  CallObserver* const observer_;
  std::function<void(HttpCall*)> ended_;
  CallResult result_;
  std::string reason_header_, encoding_, location_, content_type_, body_, sse_failure_;
  bool streamed_ = false;
  SseParser sse_;
  AnswerReader answer_;
};

class HttpTransport final : public Transport {
 public:
  HttpTransport(boost::asio::io_context* io, HttpTransportOptions options, std::unique_ptr<StreamFactory> streams,
                boost::asio::ip::tcp::endpoint endpoint)
      : io_(io), options_(std::move(options)), streams_(std::move(streams)), endpoint_(std::move(endpoint)) {}

  uint64_t Start(const CallSpec& spec, CallObserver* observer) override {
    auto call = std::make_unique<HttpCall>(observer, [this](HttpCall* ended) { OnEnded(ended); });
    HttpCall* const started = call.get();
    started->id = ++last_id_;
    started->request = Encode(spec);
    calls_[started->id] = std::move(call);
    // A connection may fail at once, and OnEnd must not come from inside Start.
    boost::asio::post(*io_, [this, id = started->id] { Place(id); });
    return started->id;
  }

  void Cancel(uint64_t id, std::string_view reason) override {
    const auto it = calls_.find(id);
    if (it == calls_.end()) return;
    if (it->second->connection != nullptr) return it->second->connection->Abort(reason, "ended by the client");
    it->second->OnExchangeEnd(reason, "ended by the client while it waited for a connection");
  }

  int64_t connection_waits() const override { return connection_waits_; }

 private:
  std::string Encode(const CallSpec& spec) const {
    const std::string body = EncodeCall(spec, options_.api, options_.model, options_.additions.body_members);
    std::string out = absl::StrCat("POST ", options_.target.CallPath(options_.api == OpenAiApi::kChat),
                                   " HTTP/1.1\r\nHost: ", options_.target.HostField(),
                                   "\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n"
                                   "User-Agent: hadal-bench\r\nContent-Length: ",
                                   body.size(), "\r\n");
    if (!spec.api_key.empty()) absl::StrAppend(&out, "Authorization: Bearer ", spec.api_key, "\r\n");
    if (!spec.priority.empty()) absl::StrAppend(&out, "x-hadal-priority: ", spec.priority, "\r\n");
    if (spec.deadline_ms) absl::StrAppend(&out, "x-hadal-deadline-ms: ", *spec.deadline_ms, "\r\n");
    if (spec.attempt > 0) absl::StrAppend(&out, "x-stainless-retry-count: ", spec.attempt, "\r\n");
    if (!spec.ticket.empty()) absl::StrAppend(&out, "x-hadal-ticket: ", spec.ticket, "\r\n");
    for (const HeaderField& field : options_.additions.headers) {
      absl::StrAppend(&out, field.name, ": ", field.value, "\r\n");
    }
    absl::StrAppend(&out, "\r\n", body);
    return out;
  }

  // Gives the call a connection, or a place in the line for one.
  void Place(uint64_t id) {
    const auto it = calls_.find(id);
    if (it == calls_.end()) return;
    HttpCall* const call = it->second.get();
    std::shared_ptr<HttpConnection> connection;
    while (connection == nullptr && !idle_.empty()) {
      connection = std::move(idle_.back());
      idle_.pop_back();
      if (!connection->reusable()) connection = nullptr;
    }
    if (connection == nullptr) {
      if (busy_ >= options_.max_connections) {
        ++connection_waits_;
        waiting_.push_back(id);
        return;
      }
      connection = std::make_shared<HttpConnection>(streams_->Make(), endpoint_);
    }
    ++busy_;
    call->connection = connection;
    connection->Exchange(std::move(call->request), call);
  }

  void OnEnded(HttpCall* call) {
    if (call->connection != nullptr) {
      --busy_;
      if (call->connection->reusable()) idle_.push_back(std::move(call->connection));
    }
    calls_.erase(call->id);
    while (busy_ < options_.max_connections && !waiting_.empty()) {
      const uint64_t next = waiting_.front();
      waiting_.pop_front();
      Place(next);
    }
  }

  boost::asio::io_context* const io_;
  const HttpTransportOptions options_;
  const std::unique_ptr<StreamFactory> streams_;
  const boost::asio::ip::tcp::endpoint endpoint_;
  std::unordered_map<uint64_t, std::unique_ptr<HttpCall>> calls_;
  std::vector<std::shared_ptr<HttpConnection>> idle_;
  std::deque<uint64_t> waiting_;
  int busy_ = 0;
  uint64_t last_id_ = 0;
  int64_t connection_waits_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> MakeHttpTransport(boost::asio::io_context* io,
                                                             HttpTransportOptions options) {
  const auto endpoint = ResolveAddress(io, options.target);
  if (!endpoint.ok()) return endpoint.status();
  auto streams = StreamsFor(io, options.target);
  if (!streams.ok()) return streams.status();
  return std::make_unique<HttpTransport>(io, std::move(options), *std::move(streams), *endpoint);
}

}  // namespace hadal::bench
