// SPDX-License-Identifier: Apache-2.0
#include "server/commands/model_source.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/read_file.h"

namespace hadal::commands {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxRefBytes = 256;

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool IsFile(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// A commit's name, or anything else that stays inside the folder it names.
bool IsPlainName(const std::string& text) {
  return !text.empty() && text.front() != '.' && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
  });
}

// The first file of the folder whose name ends so; empty for none.
std::string FindByEnding(const std::string& dir, const std::string& ending) {
  std::error_code error;
  std::vector<std::string> found;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.ends_with(ending)) found.push_back(name);
  }
  return found.empty() ? "" : *std::min_element(found.begin(), found.end());
}

absl::Status Refuse(const std::string& dir, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat("--model: '", dir, "' ", why));
}

}  // namespace

std::string HubCacheDir() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (std::string dir = Variable(name); !dir.empty()) return dir;
  }
  if (const std::string home = Variable("HF_HOME"); !home.empty()) return home + "/hub";
  if (const std::string cache = Variable("XDG_CACHE_HOME"); !cache.empty()) return cache + "/huggingface/hub";
  return Variable("HOME") + "/.cache/huggingface/hub";
}

bool IsHubName(const std::string& text) {
  const size_t slash = text.find('/');
  return slash != std::string::npos && IsPlainName(text.substr(0, slash)) && IsPlainName(text.substr(slash + 1));
}

std::optional<std::string> FindHubSnapshot(const std::string& cache_dir, const std::string& name) {
  if (!IsHubName(name)) return std::nullopt;
  const size_t slash = name.find('/');
  const fs::path model =
      fs::path(cache_dir) / absl::StrCat("models--", name.substr(0, slash), "--", name.substr(slash + 1));
  const auto usable = [&](const fs::path& snapshot) { return IsFile(snapshot / "config.json"); };
  if (absl::StatusOr<std::string> ref = base::ReadFile((model / "refs" / "main").string(), kMaxRefBytes); ref.ok()) {
    absl::StripAsciiWhitespace(&*ref);
    const fs::path snapshot = model / "snapshots" / *ref;
    if (IsPlainName(*ref) && usable(snapshot)) return snapshot.string();
  }
  std::error_code error;
  std::vector<std::string> snapshots;
  for (fs::directory_iterator it(model / "snapshots", error), end; !error && it != end; it.increment(error)) {
    if (usable(it->path())) snapshots.push_back(it->path().string());
  }
  if (snapshots.size() != 1) return std::nullopt;
  return snapshots.front();
}

absl::Status CheckModelFolder(const std::string& dir, bool wants_weights) {
  std::error_code error;
  const bool has_gguf = dir.ends_with(".gguf") || !FindByEnding(dir, ".gguf").empty();
  if (has_gguf && FindByEnding(dir, ".safetensors").empty()) {
    return Refuse(dir,
                  "holds GGUF, which hadal does not read: give the original checkpoint's folder, with config.json, "
                  "tokenizer.json and *.safetensors (hf download ORGANISATION/NAME)");
  }
  if (!fs::is_directory(dir, error)) {
    if (!IsHubName(dir)) return Refuse(dir, "is no folder");
    return Refuse(dir, absl::StrCat("is neither a folder nor in the local Hugging Face cache, ", HubCacheDir(),
                                    ": download it with 'hf download ", dir, "'"));
  }
  if (!fs::exists(fs::path(dir) / "config.json", error)) {
    if (error) return Refuse(dir, absl::StrCat("cannot be read: config.json: ", error.message()));
    return Refuse(dir, "is no checkpoint folder: it has no config.json");
  }
  if (!wants_weights || !FindByEnding(dir, ".safetensors").empty()) return absl::OkStatus();
  for (const char* ending : {".bin", ".pth", ".pt"}) {
    const std::string other = FindByEnding(dir, ending);
    if (other.empty()) continue;
    return Refuse(dir,
                  absl::StrCat("has its weights in ", other, ", which hadal does not read: convert them, in Python ",
                               "transformers.AutoModelForCausalLM.from_pretrained('", dir,
                               "', torch_dtype='auto').save_pretrained(NEW_DIR), and copy the tokenizer's files"));
  }
  return absl::OkStatus();
}

}  // namespace hadal::commands
