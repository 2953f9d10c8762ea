// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/http/common_codec.h"
#include "server/service/active_call.h"

namespace hadal::http {

// What every chunk and every whole answer repeats.
struct AnswerHead {
  std::string id;  // "chatcmpl-..." or "cmpl-..."
  int64_t created_unix_s = 0;
  std::string model;  // as the caller named it
  std::string fingerprint;
};

// Turns what calls deliver into the body of an OpenAI answer, whole or as server-sent events. An HTTP request may hold
// several calls (completions with several prompts): their choices follow each other. Not thread-safe; the calls must
// outlive it. Costs less than 4 us a token (benchmarks/server/bench_sse_encode.cc).
class CallAnswer {
 public:
  virtual ~CallAnswer() = default;
  // Appends to `out` what can be sent now; a whole answer collects and appends nothing.
  virtual void Add(size_t call_index, service::CallUpdate&& update, std::string* out) = 0;
  // Appends the rest: the usage chunk and [DONE], or the whole body.
  virtual void Finish(const service::Usage& usage, std::string* out) = 0;
};

using Calls = std::vector<std::unique_ptr<service::ActiveCall>>;

std::unique_ptr<CallAnswer> MakeChatStream(const AnswerHead& head, const AnswerOptions& options, const Calls& calls);
std::unique_ptr<CallAnswer> MakeChatAnswer(const AnswerHead& head, const AnswerOptions& options, const Calls& calls);

// Completions with `echo` give the prompt back in front of the text: prompt i as text, empty vector without echo.
std::unique_ptr<CallAnswer> MakeCompletionStream(const AnswerHead& head, const AnswerOptions& options,
                                                 const Calls& calls, std::vector<std::string> echo, bool logprobs);
std::unique_ptr<CallAnswer> MakeCompletionAnswer(const AnswerHead& head, const AnswerOptions& options,
                                                 const Calls& calls, std::vector<std::string> echo, bool logprobs);

// --- pieces that chat and completions share ---
void AppendUsage(const service::Usage& usage, bool reasoning, std::string* out);
// Text of one token for logprobs; bytes that are no character are shown as OpenAI does, "bytes:\xe2\x80".
std::string TokenText(const tokenizer::Tokenizer& tokenizer, int32_t token_id);
void AppendTokenIds(const std::vector<int32_t>& ids, std::string* out);
// An error as an event of a stream that has begun.
std::string ErrorEvent(const absl::Status& status);
inline constexpr std::string_view kDoneEvent = "data: [DONE]\n\n";
inline constexpr std::string_view kKeepAliveEvent = ": keep-alive\n\n";

}  // namespace hadal::http
