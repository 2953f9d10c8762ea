// SPDX-License-Identifier: Apache-2.0
// test_cpp_fast_open.py compiles this against the public headers and runs it with the address of a real server, and
// "on" or "off". It asks with so many clients, one after another, each with a connection of its own.
#include <iostream>
#include <string>

#include "client/client.h"

int main(int, char** arguments) {
  for (int i = 0; i < 3; ++i) {
    const auto client =
        hadal::client::Client::Connect({.targets = {arguments[1]}, .tcp_fast_open = std::string(arguments[2]) == "on"});
    if (!client.ok()) std::cerr << client.status() << "\n";
    if (!client.ok() || !(*client)->Tokenize("17 + 25").ok()) return 1;
    std::cout << "asked\n";
  }
}
