// SPDX-License-Identifier: Apache-2.0
//
// Opens libhadal_torch.so. Nothing here knows libtorch, so a server that does not ask for it pays nothing.
#include <dlfcn.h>

#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/torch/plugin.h"
#include "kernels/torch/torch_backend.h"

namespace hadal::kernels {
namespace {

constexpr char kLibrary[] = "libhadal_torch.so";

// Beside the program, and where an installed tree has it.
std::vector<std::string> LibraryPaths() {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  return {(folder / kLibrary).string(), (folder.parent_path() / "lib" / kLibrary).string()};
}

absl::StatusOr<torch::CreateFunction*> OpenLibrary() {
  const std::vector<std::string> paths = LibraryPaths();
  std::string path = kLibrary;  // what the loader finds by itself
  bool exists = false;
  for (const std::string& candidate : paths) {
    std::error_code error;
    if (exists || !std::filesystem::exists(candidate, error)) continue;
    exists = true;
    path = candidate;
  }
  // Local symbols: libtorch exports parts of a Protobuf that is not ours.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const std::string reason = dlerror();
    if (!exists && !absl::StrContains(reason, "libtorch") && !absl::StrContains(reason, "libc10")) {
      return absl::FailedPreconditionError(absl::StrCat("torch: no ", absl::StrJoin(paths, " and no "),
                                                        ": build it with cmake -DHADAL_TORCH=ON (", reason, ")"));
    }
    return absl::FailedPreconditionError(
        absl::StrCat("torch: cannot open ", path, ": ", reason, "; scripts/bootstrap --torch fetches libtorch"));
  }
  auto* stamp = reinterpret_cast<torch::StampFunction*>(dlsym(library, torch::kStampSymbol));
  auto* create = reinterpret_cast<torch::CreateFunction*>(dlsym(library, torch::kCreateSymbol));
  if (stamp == nullptr || create == nullptr || stamp() != torch::PluginStamp()) {
    return absl::FailedPreconditionError(
        absl::StrCat("torch: ", path, " is of another build than this program: build both anew"));
  }
  return create;
}

}  // namespace

bool IsTorchDevice(absl::string_view device) { return device == "torch" || absl::StartsWith(device, "torch:"); }

absl::StatusOr<std::unique_ptr<Backend>> CreateTorchBackend(absl::string_view device, const Backend::Options& options,
                                                            void* stream) {
  if (options.batch_invariant) {
    return absl::InvalidArgumentError(
        "torch: batch_invariant is not offered: libtorch's products depend on the number of rows; use cpu or cuda");
  }
  static const auto* create = new absl::StatusOr<torch::CreateFunction*>(OpenLibrary());
  if (!create->ok()) return create->status();
  torch::BackendResult backend = absl::InternalError("torch: no answer");
  (**create)(std::string(device).c_str(), &options, stream, &backend);
  return backend;
}

}  // namespace hadal::kernels
