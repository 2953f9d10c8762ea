// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/report/machine.h"

#include <sched.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

namespace hadal::bench {
namespace {

std::string CpuName() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace

nlohmann::ordered_json MachineJson() {
  cpu_set_t cpus;
  const int cores = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 0;
  struct sysinfo memory {};
  sysinfo(&memory);
  utsname kernel{};
  uname(&kernel);
  double load = 0;
  getloadavg(&load, 1);
  const double gib = static_cast<double>(memory.totalram) * memory.mem_unit / (1 << 30);
  return {{"cpu", CpuName()},
          {"cores", cores},
          {"memory_gib", std::round(gib * 10) / 10},
          {"kernel", kernel.release},
          {"load_average", std::round(load * 100) / 100}};
}

}  // namespace hadal::bench
