# SPDX-License-Identifier: Apache-2.0
"""Programs around the blocks of docs/clients.md that are no programs by themselves."""

_HEAD = """
#include <coroutine>
#include <future>
#include <iostream>
#include <map>

#include "client/batch_client.h"
#include "client/batch_lines.h"
#include "client/coroutine.h"

bool Print(std::string_view reasoning, std::string_view text) {
  std::cout << text;
  return true;
}

hadal::client::ChatOptions Question() {
  hadal::client::ChatOptions question;
  question.messages = {{"user", "17 + 25"}};
  question.temperature = 0;
  return question;
}
"""

_COROUTINE = """
struct Task {
  struct promise_type {
    Task get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

Task Ask(const absl::StatusOr<std::unique_ptr<hadal::client::Client>>& client, hadal::client::ChatOptions question, std::promise<bool>& ended) {
  bool ok = false;
  {
%s
    ok = result.ok();
  }
  ended.set_value(ok);
}

int main() {
  const auto client = hadal::client::Client::Connect({.targets = {"127.0.0.1:8000"}});
  std::promise<bool> ended;
  Ask(client, Question(), ended);
  return ended.get_future().get() ? 0 : 1;
}
"""

_TOOLS = """
int main() {
  const auto client = hadal::client::Client::Connect({.targets = {"127.0.0.1:8000"}});
  hadal::client::ChatOptions question = Question();
  question.max_tokens = 200;
%s
  if (!answer.ok()) {
    std::cerr << answer.status() << "\\n";
    return 1;
  }
  const bool scored = !answer->logprobs.empty() && answer->logprobs.front().top.size() == 3 && !answer->token_ids.empty();
  std::cout << answer->finish_reason << " " << answer->other_choices.size() << " " << answer->response_cache << (scored ? " scored" : "") << "\\n";
  return 0;
}
"""

_HEDGING = """
int main() {
  const hadal::client::ChatOptions question = Question();
%s
  return answer.ok() ? 0 : 1;
}
"""

_BATCHES = """
bool PrintLine(std::string_view line, bool failed) {
  std::cout << (failed ? "failed " : "answered ") << line << "\\n";
  return true;
}

int main() {
  const std::map<std::string, hadal::client::ChatOptions> questions = {{"first", Question()}, {"second", Question()}};
%s
  return 0;
}
"""


def program(block):
    """A whole program with the block in it."""
    frame = next(frame for mark, frame in (("co_await", _COROUTINE), ("BatchClient::Connect", _BATCHES), ("tool_choice", _TOOLS), ("hedging", _HEDGING)) if mark in block)
    return _HEAD + frame % block
