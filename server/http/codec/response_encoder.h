// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "server/http/codec/common_codec.h"
#include "server/service/active_call.h"

namespace hadal::http {

class JsonWriter;
struct MessagesOptions;
struct OllamaOptions;
struct ResponsesOptions;

// What every chunk and every complete response repeats.
struct ResponseHead {
  std::string id;  // with the API's prefix
  int64_t created_unix_s = 0;
  std::string model;  // as the caller named it
  std::string fingerprint;
  absl::Time arrival = absl::InfiniteFuture();  // of the request, GenerateService::clock() time
  // Of an answer that another server gives: there are no calls then. Outlives the encoder; else null.
  const request::StreamTimes* relayed_times = nullptr;
};

// Encodes what calls deliver as the body of an API's response, complete or as server-sent events. An HTTP request may
// hold several calls (completions with several prompts): their choices are numbered consecutively. Not thread-safe; the
// calls must outlive it. Costs less than 4 us per token (benchmarks/server/bench_sse_encode.cc).
class ResponseEncoder {
 public:
  virtual ~ResponseEncoder() = default;
  // Appends to `out` what can be sent now; without streaming nothing is appended before Finish.
  virtual void Add(size_t call_index, service::CallUpdate&& update, std::string* out) = 0;
  // Appends the rest: the last events, or the complete body.
  virtual void Finish(const service::Usage& usage, std::string* out) = 0;
  // Appends the error as the last event of a stream that has begun. Without streaming it is not called.
  virtual void Fail(const absl::Status& status, std::string* out);
  // What is sent while a stream has nothing else to say.
  virtual std::string_view KeepAlive() const;
  // Content-Type of a stream.
  virtual std::string_view StreamType() const;
};

using Calls = std::vector<std::unique_ptr<service::ActiveCall>>;

std::unique_ptr<ResponseEncoder> MakeChatStreamEncoder(const ResponseHead& head, const ResponseOptions& options,
                                                       const Calls& calls);
std::unique_ptr<ResponseEncoder> MakeChatEncoder(const ResponseHead& head, const ResponseOptions& options,
                                                 const Calls& calls);

// `echo`: the text of prompt i, which precedes the generated text of its choices; empty without echo.
std::unique_ptr<ResponseEncoder> MakeCompletionStreamEncoder(const ResponseHead& head, const ResponseOptions& options,
                                                             const Calls& calls, std::vector<std::string> echo,
                                                             bool logprobs);
std::unique_ptr<ResponseEncoder> MakeCompletionEncoder(const ResponseHead& head, const ResponseOptions& options,
                                                       const Calls& calls, std::vector<std::string> echo,
                                                       bool logprobs);

// Of Anthropic's API.
std::unique_ptr<ResponseEncoder> MakeMessagesStreamEncoder(const ResponseHead& head, const MessagesOptions& options,
                                                           const Calls& calls);
std::unique_ptr<ResponseEncoder> MakeMessagesEncoder(const ResponseHead& head, const MessagesOptions& options,
                                                     const Calls& calls);

// Of OpenAI's Responses API.
std::unique_ptr<ResponseEncoder> MakeResponsesStreamEncoder(const ResponseHead& head, const ResponsesOptions& options,
                                                            const Calls& calls);
std::unique_ptr<ResponseEncoder> MakeResponsesEncoder(const ResponseHead& head, const ResponsesOptions& options,
                                                      const Calls& calls);

// Of Ollama's API, complete or streamed.
std::unique_ptr<ResponseEncoder> MakeOllamaEncoder(const ResponseHead& head, const OllamaOptions& options,
                                                   const Calls& calls);

// --- pieces that encoders share ---
void AppendUsage(const service::Usage& usage, bool reasoning, std::string* out);
// Text of one token for logprobs; bytes that are not valid UTF-8 are shown as OpenAI does, "bytes:\xe2\x80".
std::string TokenText(const tokenizer::Tokenizer& tokenizer, int32_t token_id);
// The arguments of a tool's call as an object whatever the model wrote. What is none, because the model ran out of
// tokens or failed, is {"INVALID_JSON": "..."}, the form in which Anthropic's documents ask clients to pass such texts.
void AppendArguments(std::string_view arguments, JsonWriter* json);
// A list of {"token","logprob","bytes","top_logprobs"} of all tokens.
void AppendScoredTokens(const std::vector<service::ScoredToken>& tokens, const tokenizer::Tokenizer& tokenizer,
                        JsonWriter* json);
// The same of the tokens that belong to the reasoning, or of the others.
void AppendScoredTokens(const std::vector<service::ScoredToken>& tokens, bool reasoning,
                        const tokenizer::Tokenizer& tokenizer, JsonWriter* json);
void AppendTokenIds(const std::vector<int32_t>& ids, std::string* out);
inline constexpr std::string_view kDoneEvent = "data: [DONE]\n\n";
inline constexpr std::string_view kKeepAliveEvent = ": keep-alive\n\n";

}  // namespace hadal::http
