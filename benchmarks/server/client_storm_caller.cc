// SPDX-License-Identifier: Apache-2.0
// The callers of client_storm.py that are programs in C++, each with a Client of its own. Usage: client_storm_caller
// TARGET CALLERS TOKENS; reads the seconds at which calls begin, one a line and in order, and begins with them when the
// input ends. Prints a line for each call: "served SECONDS" or "failed MESSAGE".
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "client/client.h"

namespace {

using Clock = std::chrono::steady_clock;

class Callers {
 public:
  Callers(const std::string& target, int callers, int tokens) {
    hadal::client::ChannelOptions channel;
    channel.targets = {target};
    for (int i = 0; i < callers; ++i) {
      auto client = hadal::client::Client::Connect(channel);
      if (!client.ok()) {
        std::fprintf(stderr, "%s\n", std::string(client.status().message()).c_str());
        std::exit(1);
      }
      clients_.push_back(*std::move(client));
    }
    question_.messages = {{"user", "17 + 25"}};
    question_.max_tokens = tokens;
  }

  // Returns when the last call has ended.
  void Run(const std::vector<double>& arrivals) {
    const Clock::time_point begin = Clock::now();
    std::vector<std::thread> calls;
    for (size_t i = 0; i < arrivals.size(); ++i) {
      const auto at = begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(arrivals[i]));
      std::this_thread::sleep_until(at);
      calls.emplace_back([this, client = clients_[i % clients_.size()].get(), at] { Call(*client, at); });
    }
    for (std::thread& call : calls) call.join();
  }

 private:
  void Call(hadal::client::Client& client, Clock::time_point at) {
    const auto result = client.Chat(question_, [](std::string_view, std::string_view) { return true; });
    const double took_s = std::chrono::duration<double>(Clock::now() - at).count();
    std::lock_guard<std::mutex> lock(output_);
    if (result.ok()) {
      std::printf("served %.4f\n", took_s);
    } else {
      std::printf("failed %s\n", std::string(result.status().message()).c_str());
    }
  }

  std::vector<std::unique_ptr<hadal::client::Client>> clients_;
  hadal::client::ChatOptions question_;
  std::mutex output_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: client_storm_caller TARGET CALLERS TOKENS\n");
    return 2;
  }
  Callers callers(argv[1], std::atoi(argv[2]), std::atoi(argv[3]));
  std::vector<double> arrivals;
  for (double at = 0; std::cin >> at;) arrivals.push_back(at);
  callers.Run(arrivals);
  return 0;
}
