// SPDX-License-Identifier: Apache-2.0
// test_cpp_recipe.py compiles this against the public headers and runs it with the address of a real server and a file
// name. It prints a line for each thing that went as it should.
#include <fstream>
#include <iostream>
#include <set>
#include <string>

#include "client/batch_client.h"
#include "client/batch_coroutine.h"
#include "client/batch_lines.h"

using hadal::client::Batch;
using hadal::client::BatchClient;
using hadal::client::BatchLine;

int main(int, char** arguments) {
  const auto connected = BatchClient::Connect({.targets = {arguments[1]}});
  if (!connected.ok()) return 1;
  BatchClient& client = **connected;
  std::ofstream file(arguments[2]);
  for (int i = 0; i < 20; ++i) {
    hadal::client::ChatOptions question;
    question.messages = {{"user", std::to_string(i) + " + 1"}};
    question.temperature = i == 7 ? 9 : 0;  // one that is refused
    question.max_tokens = 4;
    file << BatchLine("ask-" + std::to_string(i), question);
  }
  file.close();
  const auto made = client.Submit({.path = arguments[2]}, {.metadata = {{"by", "C++"}}});
  if (!made.ok()) {
    std::cerr << made.status() << "\n";
    return 1;
  }
  const auto ended = client.Wait(made->id, {.first_interval = absl::Milliseconds(50)});
  if (!ended.ok() || ended->completed != 19 || ended->failed != 1) {
    std::cerr << ended.status() << "\n";
    return 1;
  }
  std::cout << "ended\n";
  std::set<std::string> answered, refused;
  const absl::Status read = client.ReadResults(*ended, [&](std::string_view line, bool failed) {
    const size_t name = line.find("ask-");
    (failed ? refused : answered).insert(std::string(line.substr(name, line.find('"', name) - name)));
    return true;
  });
  if (read.ok() && answered.size() == 19 && refused == std::set<std::string>{"ask-7"}) std::cout << "each once\n";
  if (client.List()->items.at(0).metadata.at("by") == "C++") std::cout << "listed\n";
  return 0;
}
