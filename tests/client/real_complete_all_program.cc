// SPDX-License-Identifier: Apache-2.0
// test_cpp_targets.py compiles this against the public headers and runs it with the addresses of two real servers, one
// of which is killed meanwhile.
#include <iostream>
#include <set>
#include <vector>

#include "client/complete_all.h"

int main(int, char** arguments) {
  const auto client = hadal::client::Client::Connect({.targets = {arguments[1], arguments[2]}});
  if (!client.ok()) return 1;
  std::vector<hadal::client::CompletionOptions> calls(24);
  for (size_t i = 0; i < calls.size(); ++i) {
    calls[i].token_ids.assign(i + 1, 5);
    calls[i].max_tokens = 150;
    calls[i].ignore_eos = true;
  }
  int whole = 0;
  for (const auto& result : CompleteAll(**client, calls, 8)) {
    if (result.ok() && result->completion_tokens == 150) ++whole;
    if (!result.ok()) std::cerr << result.status() << "\n";
  }
  std::cout << whole << " of 24 answered, " << ((*client)->counts().attempts > 24 ? "some asked again" : "each once")
            << std::endl;
}
