// SPDX-License-Identifier: Apache-2.0
// test_cpp_lost_server.py compiles this against the public headers and runs it with the address of a gateway, how many
// chats to read at the same time, and of how many tokens. It says so of each when it begins, and at the end how it
// went.
#include <iostream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "client/client.h"

int main(int, char** arguments) {
  const auto client = hadal::client::Client::Connect({.targets = {arguments[1]}, .deadline = absl::Seconds(60)});
  if (!client.ok()) return 1;
  std::mutex printing;
  std::vector<std::thread> readers;
  for (int i = 0; i < std::stoi(arguments[2]); ++i) {
    readers.emplace_back([&] {
      hadal::client::ChatOptions question;
      question.messages = {{"user", "x"}};
      question.max_tokens = std::stoi(arguments[3]);
      bool begun = false;
      const auto answer = (*client)->Chat(question, [&](std::string_view, std::string_view) {
        const std::lock_guard lock(printing);
        if (!begun) std::cout << "begun" << std::endl;
        return begun = true;
      });
      const std::lock_guard lock(printing);
      if (answer.ok()) {
        std::cout << "OK " << answer->completion_tokens << std::endl;
      } else {
        std::cout << answer.status() << std::endl;
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
}
