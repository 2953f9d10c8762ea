// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/strings/str_cat.h"

namespace hadal::testing {

// What another OpenAI-compatible server answers with: pieces of a stream of events, for a ScriptedServer to send.

// The head of an answer that ends with its connection.
inline constexpr char kEventStreamHead[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

// An event of a chat; `delta` and `finish` are JSON.
inline std::string ChatEvent(const std::string& delta, const std::string& finish = "null") {
  return absl::StrCat(R"(data: {"model":"far-model","choices":[{"index":0,"delta":)", delta, R"(,"finish_reason":)",
                      finish, "}]}\n\n");
}

// A whole answer: the reasoning "hm", the text "42" and the call f({"x":1}), each but the first in two events; 7 prompt
// tokens, of which 3 were cached, and 5 completion tokens.
inline std::string ChatAnswer() {
  return absl::StrCat(
      kEventStreamHead, ChatEvent(R"({"role":"assistant","content":""})"), ChatEvent(R"({"reasoning_content":"hm"})"),
      ChatEvent(R"({"content":"4"})"), ChatEvent(R"({"content":"2"})"),
      ChatEvent(
          R"({"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":"{\"x\":"}}]})"),
      ChatEvent(R"({"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]})"), ChatEvent("{}", R"("tool_calls")"),
      R"(data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5,"prompt_cache_hit_tokens":3}})",
      "\n\ndata: [DONE]\n\n");
}

}  // namespace hadal::testing
