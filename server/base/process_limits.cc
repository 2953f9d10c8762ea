// SPDX-License-Identifier: Apache-2.0
#include "server/base/process_limits.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <new>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "server/base/notification.h"

namespace hadal::base {
namespace {

constexpr int kExhaustedExitCode = 1;
constexpr int64_t kKiB = 1024;

std::terminate_handler previous_handler = nullptr;

std::optional<int64_t> SoftLimit(__rlimit_resource resource) {
  rlimit limits{};
  if (::getrlimit(resource, &limits) != 0 || limits.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return static_cast<int64_t>(std::min<rlim_t>(limits.rlim_cur, INT64_MAX));
}

// The lowest pids.max from the group at `path` up to the root of the hierarchy at `mount`.
std::optional<int64_t> LowestPidsMax(const std::string& mount, std::string path) {
  std::optional<int64_t> lowest;
  while (true) {
    std::ifstream file(absl::StrCat(mount, path, "/pids.max"));
    int64_t value = 0;  // "max" is no number
    if (file >> value) lowest = std::min(lowest.value_or(value), value);
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return lowest;
    path.resize(slash);
  }
}

std::optional<int64_t> PidsMax() {
  constexpr char kUnified[] = "0::";
  constexpr char kPids[] = ":pids:";
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (line.rfind(kUnified, 0) == 0) {
      if (auto lowest = LowestPidsMax("/sys/fs/cgroup", line.substr(std::strlen(kUnified)))) return lowest;
    } else if (const size_t at = line.find(kPids); at != std::string::npos) {
      return LowestPidsMax("/sys/fs/cgroup/pids", line.substr(at + std::strlen(kPids)));
    }
  }
  return std::nullopt;
}

[[noreturn]] void Leave(const char* text) {
  (void)!::write(STDERR_FILENO, text, std::strlen(text));
  ::_exit(kExhaustedExitCode);  // destructors would join threads that wait for the one that is missing
}

[[noreturn]] void LeaveForWantOfThread(const std::system_error& error) {
  Leave(absl::StrCat("hadal: cannot start a thread: ", error.code().message(), "; ", ThreadLimits(), "\n").c_str());
}

// Allocates nothing.
[[noreturn]] void LeaveForWantOfMemory() {
  char text[160];
  if (const std::optional<int64_t> limit = SoftLimit(RLIMIT_AS)) {
    std::snprintf(text, sizeof(text), "hadal: out of memory: ulimit -v is %lld KiB\n",
                  static_cast<long long>(*limit / kKiB));
  } else {
    std::snprintf(text, sizeof(text), "hadal: out of memory: the system refuses more; ulimit -v is not set\n");
  }
  Leave(text);
}

[[noreturn]] void OnTerminate() {
  if (const std::exception_ptr thrown = std::current_exception()) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::system_error& error) {
      // Only a thread's start ends in this error; the library's other calls report theirs.
      if (error.code() == std::errc::resource_unavailable_try_again) LeaveForWantOfThread(error);
    } catch (const std::bad_alloc&) {
      LeaveForWantOfMemory();
    } catch (...) {
    }
  }
  previous_handler();
  std::abort();
}

}  // namespace

std::string ThreadLimits() {
  std::vector<std::string> limits;
  if (const auto user = SoftLimit(RLIMIT_NPROC)) limits.push_back(absl::StrCat("ulimit -u is ", *user));
  if (const auto space = SoftLimit(RLIMIT_AS)) limits.push_back(absl::StrCat("ulimit -v is ", *space / kKiB, " KiB"));
  if (const auto pids = PidsMax()) limits.push_back(absl::StrCat("the cgroup's pids.max is ", *pids));
  if (limits.empty()) return "ulimit -u, ulimit -v and the cgroup's pids.max set no limit: see kernel.threads-max";
  return absl::StrJoin(limits, ", ");
}

absl::Status CheckThreads(int needed) {
  Notification end;
  std::vector<std::thread> threads;
  absl::Status status;
  try {
    threads.reserve(needed);
    // Each takes memory of its own from the allocator, as those after it will.
    while (static_cast<int>(threads.size()) < needed) {
      threads.emplace_back([&end] {
        std::vector<char> own(kKiB);
        static_cast<volatile char*>(own.data())[0] = 1;  // else the allocation is optimized away
        end.WaitFor(absl::InfiniteDuration());
      });
    }
  } catch (const std::system_error& error) {
    status =
        absl::ResourceExhaustedError(absl::StrCat(needed, " threads are needed, but the system allows only ",
                                                  threads.size(), " (", error.code().message(), "): ", ThreadLimits()));
  }
  end.Notify();
  for (std::thread& thread : threads) thread.join();
  return status;
}

absl::StatusOr<int64_t> RaiseDescriptorLimit(int64_t needed) {
  rlimit limits{};
  if (::getrlimit(RLIMIT_NOFILE, &limits) != 0) {
    return absl::InternalError(absl::StrCat("cannot read ulimit -n: ", std::strerror(errno)));
  }
  const rlim_t wanted = std::min(static_cast<rlim_t>(needed), limits.rlim_max);
  if (limits.rlim_cur < wanted) {
    const rlimit raised{wanted, limits.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limits = raised;
  }
  return static_cast<int64_t>(std::min<rlim_t>(limits.rlim_cur, INT64_MAX));
}

absl::Status CheckDescriptors(int64_t needed) {
  const absl::StatusOr<int64_t> limit = RaiseDescriptorLimit(needed);
  if (!limit.ok()) return limit.status();
  if (*limit >= needed) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "at least ", needed, " file descriptors are needed, but ulimit -n is ", *limit, ": raise the hard limit"));
}

void ExitWhenExhausted() { previous_handler = std::set_terminate(OnTerminate); }

}  // namespace hadal::base
