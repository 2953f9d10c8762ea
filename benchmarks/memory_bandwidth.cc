// SPDX-License-Identifier: Apache-2.0
// Prints the read bandwidth of this machine's memory in GB/s: memory_bandwidth [threads] [MiB per thread].
// Every thread sums its own array, larger than the caches, five times; the best round counts. Built and run by lib.py.
#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 5;

uint64_t Sum(const std::vector<uint64_t>& values) {
  // Eight independent sums keep several loads in flight, and let the compiler use wide registers.
  uint64_t sums[8] = {};
  for (size_t i = 0; i + 8 <= values.size(); i += 8) {
    for (size_t lane = 0; lane < 8; ++lane) sums[lane] += values[i + lane];
  }
  uint64_t total = 0;
  for (uint64_t sum : sums) total += sum;
  return total;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::clamp(std::atoi(argv[1]), 1, 1024) : static_cast<int>(std::thread::hardware_concurrency());
  const size_t mib = argc > 2 ? static_cast<size_t>(std::clamp(std::atoi(argv[2]), 1, 65536)) : 512;
  const size_t count = (mib << 20) / sizeof(uint64_t);
  double best_seconds = 1e30;
  Clock::time_point start;
  int round = 0;
  uint64_t check = 0;
  std::barrier begin(threads, [&]() noexcept { start = Clock::now(); });
  std::barrier end(threads, [&]() noexcept {
    best_seconds = std::min(best_seconds, std::chrono::duration<double>(Clock::now() - start).count());
    ++round;
  });
  std::vector<std::thread> workers;
  std::vector<uint64_t> sums(static_cast<size_t>(threads));
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      const std::vector<uint64_t> values(count, static_cast<uint64_t>(t) + 1);  // written by the thread that reads it
      for (int i = 0; i < kRounds; ++i) {
        begin.arrive_and_wait();
        sums[static_cast<size_t>(t)] += Sum(values);
        end.arrive_and_wait();
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  for (uint64_t sum : sums) check += sum;
  const double bytes = static_cast<double>(count) * sizeof(uint64_t) * threads;
  std::printf("%.2f\n", bytes / best_seconds / 1e9);
  return check == 0 ? 1 : 0;
}
