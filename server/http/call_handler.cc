// SPDX-License-Identifier: Apache-2.0
#include "server/http/call_handler.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/post.hpp>
#include <chrono>
#include <memory>
#include <utility>

#include "absl/strings/str_format.h"
#include "server/http/call_answer.h"
#include "server/http/chat_codec.h"
#include "server/http/completion_codec.h"
#include "server/request/refusal.h"

namespace hadal::http {
namespace {

namespace asio = boost::asio;
using request::MakeError;
using request::Reason;

// Body size that admission assumes for a chunked body.
constexpr int64_t kAssumedChunkedBytes = 4096;
constexpr auto kGrammarPoll = std::chrono::milliseconds(2);
constexpr absl::Duration kWorkersBusyRetry = absl::Seconds(1);

int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// What the worker makes of a body.
struct Started {
  absl::Status status;
  Calls calls;
  AnswerHead head;
  AnswerOptions options;
  bool chat = false;
  bool logprobs = false;
  std::vector<std::string> echo;
};

// One generating request, alive as long as its coroutine.
class CallRun {
 public:
  CallRun(Connection& connection, CallContext context)
      : connection_(connection),
        context_(std::move(context)),
        notifier_(std::make_shared<request::Notifier>([event = connection.shared_event()] { event->PostSet(); })) {
    priority_ = context_.caller.priority;
    // Clients may send the same id twice: inside the process a number makes it unique.
    internal_id_ = absl::StrFormat("%s-%x", connection.request_id(),
                                   connection.mutable_context().next_request.fetch_add(1, std::memory_order_relaxed));
  }
  ~CallRun() { notifier_->Disconnect(); }

  asio::awaitable<void> Run();

 private:
  asio::awaitable<void> Refuse(absl::Status status);
  void Record(const absl::Status& status, int http_status);
  admission::AdmissionRequest ArrivalOf(int64_t body_bytes) const;

  // On a worker.
  void Prepare(const std::string& body, admission::Ticket ticket);
  absl::Status PrepareChat(const std::string& body);
  absl::Status PrepareCompletion(const std::string& body, admission::Ticket ticket);
  void Start();
  absl::Status FillOptions(const AnswerOptions& answer, service::CallOptions* options);

  // Back on the connection's thread.
  asio::awaitable<void> WaitForGrammars();
  asio::awaitable<void> Answer();
  // Takes what the calls have; returns the failure that ends the answer, or Ok.
  absl::Status ReadCalls(CallAnswer* answer, std::string* out);
  asio::awaitable<void> Fail(absl::Status status, std::string* out);

  service::GenerateService& service() const { return *connection_.context().dependencies.service; }

  Connection& connection_;
  CallContext context_;
  const std::shared_ptr<request::Notifier> notifier_;
  request::Priority priority_;
  std::string internal_id_;
  // Between Prepare and Start: the calls, and the queue slot that each of them holds.
  std::vector<std::unique_ptr<service::PreparedCall>> prepared_;
  std::vector<admission::Ticket> tickets_;
  Started started_;
  std::vector<bool> call_done_;
  std::vector<int32_t> finished_choices_;
  service::Usage usage_;
  bool streaming_ = false;  // the head of a stream has been sent
};

asio::awaitable<void> CallRun::Run() {
  const RequestHead& head = connection_.head();
  absl::StatusOr<admission::Ticket> ticket =
      service().Admit(ArrivalOf(head.content_length.value_or(head.chunked ? kAssumedChunkedBytes : 0)));
  if (!ticket.ok()) {
    co_await Refuse(ticket.status());
    co_return;
  }
  std::string body;
  absl::Status read = co_await connection_.ReadBody(&body);
  if (!read.ok()) {
    ticket->Release();
    if (connection_.disconnected()) {
      Record(read, 499);
    } else {
      co_await Refuse(std::move(read));
    }
    co_return;
  }
  connection_.WatchDisconnect();
  bool ran = co_await RunOnWorker(connection_, [&] { Prepare(body, *std::move(ticket)); });
  body.clear();
  body.shrink_to_fit();
  if (ran && !prepared_.empty()) {
    co_await WaitForGrammars();
    ran = co_await RunOnWorker(connection_, [&] { Start(); });
    tickets_.clear();
  }
  if (!ran) {
    ticket->Release();
    started_.status = WorkersBusy();
  }
  if (connection_.disconnected()) {
    Record(MakeError(Reason::kCancelled, "the client is gone"), 499);
    co_return;
  }
  if (!started_.status.ok()) {
    co_await Refuse(started_.status);
    co_return;
  }
  co_await Answer();
}

admission::AdmissionRequest CallRun::ArrivalOf(int64_t body_bytes) const {
  admission::AdmissionRequest arrival;
  arrival.priority = priority_;
  arrival.tenant = context_.caller.tenant;
  arrival.request_id = internal_id_;
  arrival.body_bytes = body_bytes;
  return arrival;
}

// Calls without a grammar, or with one that is known, start at once; the others stay in prepared_.
void CallRun::Prepare(const std::string& body, admission::Ticket ticket) {
  started_.chat = context_.route.route != Route::kCompletions;
  if (started_.chat) {
    started_.status = PrepareChat(body);
    tickets_.push_back(std::move(ticket));
  } else {
    started_.status = PrepareCompletion(body, std::move(ticket));
  }
  if (!started_.status.ok()) {
    prepared_.clear();
    tickets_.clear();
    return;
  }
  const auto waits = [](const auto& call) { return call->grammar() != nullptr && !call->grammar()->ready(); };
  if (std::none_of(prepared_.begin(), prepared_.end(), waits)) Start();
}

void CallRun::Start() {
  for (size_t i = 0; i < prepared_.size() && started_.status.ok(); ++i) {
    absl::StatusOr<std::unique_ptr<service::ActiveCall>> call =
        service().Start(std::move(prepared_[i]), std::move(tickets_[i]), notifier_);
    started_.status = call.status();
    if (call.ok()) started_.calls.push_back(*std::move(call));
  }
  prepared_.clear();
  tickets_.clear();
  if (!started_.status.ok()) {
    started_.calls.clear();
    return;
  }
  const service::ServedModel& model = started_.calls.front()->model();
  started_.head.id = (started_.chat ? "chatcmpl-" : "cmpl-") + internal_id_;
  started_.head.created_unix_s = UnixSeconds();
  if (started_.head.model.empty()) started_.head.model = model.name;
  started_.head.fingerprint = model.info.fingerprint;
}

// Looks again and again instead of being called back: the compiling threads may outlive this connection's.
asio::awaitable<void> CallRun::WaitForGrammars() {
  for (const auto& call : prepared_) {
    if (call->grammar() == nullptr) continue;
    while (!call->grammar()->ready() && !connection_.disconnected()) {
      co_await connection_.event().Wait(AsyncEvent::TimePoint::clock::now() + kGrammarPoll);
    }
  }
}

absl::Status CallRun::FillOptions(const AnswerOptions& answer, service::CallOptions* options) {
  if (!context_.priority_from_header && !answer.service_tier.empty()) {
    absl::StatusOr<std::optional<request::Priority>> wanted = PriorityOfTier(answer.service_tier);
    if (!wanted.ok()) return wanted.status();
    if (wanted->has_value()) {
      absl::StatusOr<service::Caller> caller =
          connection_.context().dependencies.keys.Authenticate(connection_.head().authorization, *wanted);
      if (!caller.ok()) return caller.status();
      priority_ = caller->priority;
    }
  }
  options->request_id = internal_id_;
  options->tenant = context_.caller.tenant;
  options->priority = priority_;
  options->arrival = context_.arrival;
  options->deadline = context_.deadline;
  started_.options = answer;
  started_.head.model = options->model;
  return absl::OkStatus();
}

absl::Status CallRun::PrepareChat(const std::string& body) {
  absl::StatusOr<ChatBody> chat = DecodeChat(body, connection_.context().options.max_json_depth,
                                             /*allow_prompt=*/context_.route.route == Route::kSimpleChat);
  if (!chat.ok()) return chat.status();
  if (absl::Status status = FillOptions(chat->answer, &chat->call.options); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<service::PreparedCall>> call = service().Prepare(std::move(chat->call));
  if (!call.ok()) return call.status();
  prepared_.push_back(*std::move(call));
  return absl::OkStatus();
}

absl::Status CallRun::PrepareCompletion(const std::string& body, admission::Ticket ticket) {
  absl::StatusOr<CompletionBody> completion = DecodeCompletion(body, connection_.context().options.max_json_depth);
  if (!completion.ok()) return completion.status();
  if (absl::Status status = FillOptions(completion->answer, &completion->call.options); !status.ok()) return status;
  started_.logprobs = completion->call.options.top_logprobs.has_value();
  const bool skip_special_tokens = completion->call.options.skip_special_tokens;
  for (size_t i = 0; i < completion->prompts.size(); ++i) {
    // The slot reserved for the body serves the first prompt; each further prompt needs one of its own.
    if (i > 0) {
      absl::StatusOr<admission::Ticket> next =
          service().Admit(ArrivalOf(static_cast<int64_t>(body.size() / completion->prompts.size())));
      if (!next.ok()) return next.status();
      ticket = *std::move(next);
    }
    service::GenerateCall call = completion->call;
    if (i > 0) call.options.request_id = absl::StrFormat("%s-%d", internal_id_, i);
    const auto* text = std::get_if<std::string>(&completion->prompts[i]);
    const bool echo_ids = completion->echo && text == nullptr;
    if (completion->echo && text != nullptr) started_.echo.push_back(*text);
    if (echo_ids) {
      absl::StatusOr<std::string> decoded = service().Detokenize(
          call.options.model, std::get<std::vector<int32_t>>(completion->prompts[i]), skip_special_tokens);
      if (!decoded.ok()) return decoded.status();
      started_.echo.push_back(*std::move(decoded));
    }
    call.prompt = std::move(completion->prompts[i]);
    absl::StatusOr<std::unique_ptr<service::PreparedCall>> prepared = service().Prepare(std::move(call));
    if (!prepared.ok()) return prepared.status();
    prepared_.push_back(*std::move(prepared));
    tickets_.push_back(std::move(ticket));
  }
  return absl::OkStatus();
}

asio::awaitable<void> CallRun::Answer() {
  const Calls& calls = started_.calls;
  const bool stream = started_.options.stream;
  std::unique_ptr<CallAnswer> answer;
  if (started_.chat) {
    answer = stream ? MakeChatStream(started_.head, started_.options, calls)
                    : MakeChatAnswer(started_.head, started_.options, calls);
  } else {
    answer = stream ? MakeCompletionStream(started_.head, started_.options, calls, started_.echo, started_.logprobs)
                    : MakeCompletionAnswer(started_.head, started_.options, calls, started_.echo, started_.logprobs);
  }
  call_done_.assign(calls.size(), false);
  finished_choices_.assign(calls.size(), 0);

  const auto interval = absl::ToChronoMicroseconds(connection_.context().options.keep_alive_interval);
  auto keep_alive_at = std::chrono::steady_clock::now() + interval;
  std::string out;
  while (true) {
    absl::Status failure = ReadCalls(answer.get(), &out);
    if (!failure.ok()) {
      co_await Fail(std::move(failure), &out);
      co_return;
    }
    const bool done = std::find(call_done_.begin(), call_done_.end(), false) == call_done_.end();
    if (done) answer->Finish(usage_, &out);
    if (done && !stream) {
      Record(absl::OkStatus(), 200);
      http::Answer whole;
      whole.body = std::move(out);
      co_await connection_.Send(std::move(whole));
      co_return;
    }
    if (!out.empty()) {
      if (!streaming_) {
        streaming_ = true;
        const bool begun = co_await connection_.BeginStream("text/event-stream; charset=utf-8");
        if (!begun) break;
      }
      const bool sent = co_await connection_.WriteStream(&out);
      if (!sent) break;
      keep_alive_at = std::chrono::steady_clock::now() + interval;
    }
    if (done) {
      Record(absl::OkStatus(), 200);
      co_await connection_.EndStream(/*complete=*/true);
      co_return;
    }
    const bool woken = co_await connection_.event().Wait(stream ? keep_alive_at : AsyncEvent::TimePoint::max());
    if (connection_.disconnected()) break;
    if (!woken && stream) out = kKeepAliveEvent;
  }
  // The client is gone or does not read: everything ends with the calls.
  started_.calls.clear();
  const bool slow = connection_.write_timed_out();
  Record(MakeError(slow ? Reason::kSlowReader : Reason::kCancelled,
                   slow ? "the client does not read" : "the client is gone"),
         streaming_ ? 200 : 499);
}

absl::Status CallRun::ReadCalls(CallAnswer* answer, std::string* out) {
  for (size_t i = 0; i < started_.calls.size(); ++i) {
    if (call_done_[i]) continue;
    service::CallUpdate update = started_.calls[i]->Read();
    if (update.empty()) continue;
    for (const service::ChoiceDelta& delta : update.deltas) {
      if (delta.finish != service::Finish::kNone) ++finished_choices_[i];
    }
    if (update.done) {
      call_done_[i] = true;
      usage_ += update.usage;
      // Ended by a drain's time-out, but every choice says so itself: the client gets what there is.
      const bool told = finished_choices_[i] == started_.calls[i]->n() &&
                        request::GetErrorDetail(update.status).reason == Reason::kInsufficientSystemResource;
      if (!update.status.ok() && !told) return update.status;
    }
    answer->Add(i, std::move(update), out);
  }
  return absl::OkStatus();
}

asio::awaitable<void> CallRun::Fail(absl::Status status, std::string* out) {
  started_.calls.clear();
  if (!streaming_) {
    co_await Refuse(std::move(status));
    co_return;
  }
  Record(status, 200);
  out->append(ErrorEvent(status));
  const bool sent = co_await connection_.WriteStream(out);
  if (sent) co_await connection_.EndStream(/*complete=*/false);
}

asio::awaitable<void> CallRun::Refuse(absl::Status status) {
  http::Answer answer = ErrorAnswer(status, connection_.context().options.overload_http_status);
  Record(status, answer.status);
  co_await connection_.Send(std::move(answer));
}

void CallRun::Record(const absl::Status& status, int http_status) {
  service::CallRecord record;
  record.protocol = "http";
  record.route = context_.route.name;
  record.outcome = service::OutcomeOf(status);
  record.reason = status.ok() ? Reason::kNone : request::GetErrorDetail(status).reason;
  record.priority = priority_;
  record.http_status = http_status;
  record.request_id = internal_id_;
  record.usage = usage_;
  record.duration = service().clock().Now() - context_.arrival;
  service().Record(record);
}

}  // namespace

asio::awaitable<void> HandleCall(Connection& connection, CallContext context) {
  const base::ActiveCount::Scope active(&connection.mutable_context().active_calls);
  CallRun run(connection, std::move(context));
  co_await run.Run();
}

asio::awaitable<bool> RunOnWorker(Connection& connection, std::function<void()> job) {
  struct State {
    std::atomic<bool> abandoned{false};
    bool done = false;  // on the connection's thread
  };
  const auto state = std::make_shared<State>();
  // The event moves on into the posted handler: when that has run, the worker holds nothing of this thread any more.
  const bool posted = connection.context().dependencies.service->workers().TryPost(
      [state, event = connection.shared_event(), job = std::move(job)]() mutable {
        if (!state->abandoned.load()) job();
        const asio::any_io_executor executor = event->executor();
        asio::post(executor, [state, event = std::move(event)] {
          state->done = true;
          event->Set();
        });
      });
  if (!posted) co_return false;
  while (!state->done) {
    co_await connection.event().Wait();
    if (connection.disconnected()) state->abandoned.store(true);
  }
  co_return true;
}

absl::Status WorkersBusy() {
  return request::MakeBusy(Reason::kConnectionQueueFull, "too many requests are being read", kWorkersBusyRetry);
}

}  // namespace hadal::http
