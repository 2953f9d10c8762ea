// SPDX-License-Identifier: Apache-2.0
// test_cpp_sharing.py compiles this against the public headers and runs it with the address of a real server, whether
// calls share promises (0 or 1), how many chats begin in a second, and how many there are. It prints how they went.
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "client/client.h"

int main(int, char** arguments) {
  hadal::client::ChannelOptions options = {.targets = {arguments[1]}, .deadline = absl::Minutes(1)};
  options.retry.share_promises = std::stoi(arguments[2]) != 0;
  const absl::Duration gap = absl::Seconds(1) / std::stoi(arguments[3]);
  const int chats = std::stoi(arguments[4]);
  const auto client = hadal::client::Client::Connect(options);
  if (!client.ok()) return 1;
  hadal::client::ChatOptions question;
  question.messages = {{"user", "x"}};
  question.max_tokens = 16;
  question.ignore_eos = true;
  std::vector<int> answered(chats);
  std::vector<std::thread> threads;
  for (int i = 0; i < chats; ++i) {
    threads.emplace_back([&, i] {
      const auto answer = (*client)->Chat(question, [](std::string_view, std::string_view) { return true; });
      if (answer.ok() && answer->completion_tokens == 16) answered[i] = 1;
      if (!answer.ok()) std::cerr << answer.status() << "\n";
    });
    absl::SleepFor(gap);
  }
  int all = 0;
  for (int i = 0; i < chats; ++i) {
    threads[i].join();
    all += answered[i];
  }
  const hadal::client::CallCounts counts = (*client)->counts();
  std::cout << all << " of " << counts.calls << " answered, " << counts.attempts << " attempts" << std::endl;
}
