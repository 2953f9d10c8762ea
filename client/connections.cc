// SPDX-License-Identifier: Apache-2.0
#include "client/connections.h"

#include <grpcpp/alarm.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/time/clock.h"
#include "client/fast_open.h"
#include "client/load_report.h"

namespace hadal::client {
namespace {

// A server that does not say its load by then is asked only where there is no other.
constexpr absl::Duration kLoadTimeout = absl::Seconds(5);

constexpr absl::Duration kConnectingPause = absl::Milliseconds(50);

// For a sign of life.
constexpr absl::Duration kMaxKeepAliveTimeout = absl::Seconds(20);

// gRPC's own 4 MiB are fewer than the tokens of a long text.
constexpr int kMaxAnswerBytes = 64 << 20;

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(duration), std::numeric_limits<int>::max()));
}

// Whether the address is this host's own: what http_proxy names may be elsewhere, and would look for the server there.
bool OnLoopback(std::string_view address) {
  for (const std::string_view resolver : {"dns:///", "ipv4:", "ipv6:"}) {
    if (address.starts_with(resolver)) address.remove_prefix(resolver.size());
  }
  return address.starts_with("127.") || address.starts_with("[::1]") || address == "localhost" ||
         address.starts_with("localhost:");
}

// What a call of GetLoad needs until it is answered.
struct LoadQuestion {
  grpc::ClientContext context;
  v1::GetLoadRequest request;
  v1::GetLoadResponse response;
};

// The threads of gRPC's callbacks end with the last channel that has made a call. It waits for them, so it must not go
// on one of them, where the last reference to Connections may well be dropped: a channel that stays, and has made a
// call, keeps them.
void KeepCallbackThreads() {
  // Used by nobody, but in sight of leak checkers.
  [[gnu::used]] static const auto* const kept = [] {
    const auto* const channel =
        new std::shared_ptr<grpc::Channel>(grpc::CreateChannel("127.0.0.1:1", grpc::InsecureChannelCredentials()));
    const std::unique_ptr<v1::Inference::Stub> stub = v1::Inference::NewStub(*channel);
    auto question = std::make_shared<LoadQuestion>();
    question->context.set_deadline(std::chrono::system_clock::time_point());  // it has passed: nothing is connected
    stub->async()->GetLoad(&question->context, &question->request, &question->response,
                           [question](const grpc::Status&) {});
    return channel;
  }();
}

// gRPC 1.51 forgets a connection whose channel goes while it is being made: it would stay open for good. So the channel
// stays until that is over, which gRPC bounds.
void LetGo(std::shared_ptr<grpc::Channel> channel) {
  if (channel->GetState(/*try_to_connect=*/false) != GRPC_CHANNEL_CONNECTING) return;
  auto alarm = std::make_shared<grpc::Alarm>();
  grpc::Alarm* const set = alarm.get();
  set->Set(absl::ToChronoTime(absl::Now() + kConnectingPause),
           [alarm = std::move(alarm), channel = std::move(channel)](bool) mutable {
             const std::shared_ptr<grpc::Alarm> rung = std::move(alarm);  // it holds this function, which held it
             LetGo(std::move(channel));
           });
}

}  // namespace

std::string TrailerOf(const grpc::ClientContext& context, const char* name) {
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto it = trailers.find(name);
  return it == trailers.end() ? "" : std::string(it->second.data(), it->second.size());
}

void NoteLoad(Target& target, const grpc::ClientContext& context) {
  const std::optional<double> requests = RequestsOfReport(TrailerOf(context, kLoadReportTrailer));
  if (requests.has_value()) target.Report(*requests);
}

Connections::Connections(const std::vector<std::string>& addresses, const RetryOptions& retry,
                         const std::shared_ptr<grpc::ChannelCredentials>& credentials, Metadata identity, int max_calls,
                         absl::Duration keep_alive, bool tcp_fast_open)
    : targets_(addresses, retry), window_(max_calls), identity_(std::move(identity)) {
  KeepCallbackThreads();
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // gRPC's own would send no ticket
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(keep_alive));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(std::min(keep_alive, kMaxKeepAliveTimeout)));
  // gRPC by itself stops after two where nothing is sent: whoever waits in a long queue would not be told that its
  // server has gone.
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetMaxReceiveMessageSize(kMaxAnswerBytes);
  if (tcp_fast_open) UseFastOpen(&arguments);
  for (const auto& target : targets_.all()) {
    Server& server = servers_[target.get()];
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, OnLoopback(target->address()) ? 0 : 1);
    server.channel = grpc::CreateCustomChannel(target->address(), credentials, arguments);
    server.stub = v1::Inference::NewStub(server.channel);
    server.batches = v1::Batches::NewStub(server.channel);
  }
}

Connections::~Connections() {
  for (const auto& [target, server] : servers_) LetGo(server.channel);
}

void Connections::ConnectAhead() {
  for (const auto& [target, server] : servers_) server.channel->GetState(/*try_to_connect=*/true);
}

void Connections::RefreshLoads() {
  if (servers_.size() == 1) return;
  for (const auto& [target, server] : servers_) {
    if (!target->ShouldAskForLoad()) continue;
    auto question = std::make_shared<LoadQuestion>();
    question->context.set_deadline(absl::ToChronoTime(absl::Now() + kLoadTimeout));
    for (const auto& [name, value] : identity_) question->context.AddMetadata(name, value);
    server.stub->async()->GetLoad(&question->context, &question->request, &question->response,
                                  [self = shared_from_this(), target = target, question](const grpc::Status& status) {
                                    if (status.ok()) target->Report(RequestsOf(question->response));
                                    // It takes no calls either: it hangs, or cannot be reached.
                                    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
                                      target->Report(kUnfit);
                                    }
                                  });
  }
}

}  // namespace hadal::client
