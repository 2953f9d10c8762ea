// SPDX-License-Identifier: Apache-2.0
// test_cpp_targets.py compiles this against the public headers and runs it with the addresses of two real servers,
// the delay of hedging, 0: off, and the deadline of a call, both in milliseconds, and how many chats. Once it knows the
// loads of both, it says so and waits for a line; then it asks the chats, one after another, and prints how they went.
#include <iostream>
#include <string>

#include "client/client.h"

int main(int, char** arguments) {
  const int delay_ms = std::stoi(arguments[3]);
  hadal::client::ChannelOptions options = {.targets = {arguments[1], arguments[2]},
                                           .deadline = absl::Milliseconds(std::stoi(arguments[4]))};
  if (delay_ms > 0) options.retry.hedging = {.delay = absl::Milliseconds(delay_ms), .max_share = 1};
  const auto client = hadal::client::Client::Connect(options);
  if (!client.ok() || (*client)->GetLoad(absl::Seconds(30))->size() != 2) return 1;
  std::cout << "ready" << std::endl;
  std::string line;
  std::getline(std::cin, line);
  const int chats = std::stoi(arguments[5]);
  int answered = 0;
  for (int i = 0; i < chats; ++i) {
    hadal::client::ChatOptions question;
    question.messages = {{"user", "x"}};
    question.max_tokens = 5;
    const auto answer = (*client)->Chat(question, [](std::string_view, std::string_view) { return true; });
    if (answer.ok() && answer->completion_tokens == 5) ++answered;
    if (!answer.ok()) std::cerr << answer.status() << "\n";
  }
  const hadal::client::CallCounts counts = (*client)->counts();
  std::cout << answered << " of " << counts.calls << " answered, " << counts.hedges << " hedged, " << counts.hedges_won
            << " won, " << counts.attempts << " attempts" << std::endl;
}
