// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace hadal::client {

// How calls are retried. A call that is refused for capacity is made again after the time that the server names
// (grpc-retry-pushback-ms), with the ticket that it gave, so that the place which it keeps meanwhile is found; where it
// names none, after an exponential back-off with full jitter. Only calls that were not admitted are made again: once a
// token has arrived, a failure is final. Hedging is off.
struct ChannelOptions {
  std::string target = "127.0.0.1:8000";  // host:port
  std::string api_key;                    // sent as a bearer key when not empty
  bool tls = false;                       // the texts below are in PEM form
  std::string tls_authorities;            // who may sign the server's certificate; empty: who the system trusts
  std::string tls_certificate, tls_key;   // the client's own, for servers that want one
  int max_attempts = 5;                   // 1 disables retries
  absl::Duration initial_backoff = absl::Milliseconds(500);
  absl::Duration max_backoff = absl::Seconds(30);
  absl::Duration deadline = absl::Minutes(60);  // of a whole call, all attempts together
};

// The gRPC service config that implements the options as far as gRPC can: no tickets, and at most 5 attempts. For
// programs that open their own channel.
std::string ServiceConfigJson(const ChannelOptions& options);

struct Message {
  std::string role;
  std::string content;
};

struct ChatOptions {
  std::string model;  // empty: the server's first
  std::vector<Message> messages;
  double temperature = -1;  // negative: the checkpoint's default
  int max_tokens = 0;       // 0: what the context leaves
  int thinking = -1;        // 1 on, 0 off, -1 the template's default
  std::string priority;     // high, normal, low, batch; empty: normal
  // W3C trace context of the caller; a server that traces makes its span a part of it. Empty: none.
  std::string traceparent, tracestate;
  // For models with a chat template of their own:
  std::string chat_template_kwargs;    // JSON object of further variables; empty: none
  std::vector<std::string> documents;  // JSON objects that the answer is to be drawn from
};

struct ChatResult {
  std::string text;
  std::string reasoning;
  std::string finish_reason;  // "stop", "length", ...
  int prompt_tokens = 0;
  int completion_tokens = 0;
};

// One connection to a hadal server. Thread-safe; calls are independent.
class Client {
 public:
  static std::unique_ptr<Client> Connect(const ChannelOptions& options);
  virtual ~Client() = default;

  // Streams a response: `on_delta(reasoning, text)` for each piece, on the calling thread, which sleeps between
  // attempts; returning false cancels the call. Errors carry the server's message; Cancelled when on_delta said so.
  virtual absl::StatusOr<ChatResult> Chat(const ChatOptions& options,
                                          const std::function<bool(std::string_view, std::string_view)>& on_delta) = 0;
};

}  // namespace hadal::client
