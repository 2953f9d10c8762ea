// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "models/registry.h"
#include "server/base/flag_set.h"

namespace hadal::commands {

// One --model flag: NAME[,NAME...]=DIR, or DIR with the folder's name.
struct ModelFlag {
  std::string name;
  std::string dir;
  std::vector<std::string> other_names;  // the same model answers to these, too
};

// NVIDIA's Multi-Process Service (mps.h).
enum class MpsMode {
  kAuto,     // used where a daemon answers
  kRequire,  // no daemon: no start
  kOff,      // not used where one answers
};

// How urgent the daemon takes this client's work to be.
enum class MpsPriority {
  kInherited,  // as the environment or the daemon says
  kNormal,
  kBelowNormal,  // for work that may wait for its neighbours'
};

// The folder that --gemm-cache stands for; empty: none. "auto" is $XDG_CACHE_HOME/hadal or ~/.cache/hadal.
std::string AlgorithmFolder(const std::string& flag);

// Which models are served, and how they are loaded.
struct ModelOptions {
  std::vector<ModelFlag> models;                 // empty: the demo model
  models::LoadOptions load;                      // of each; `dir` and `name` are the model's
  std::optional<absl::Duration> null_step_time;  // set: models compute nothing, and a step takes so long
  std::string chat_template = "auto";            // auto, a style, or a .jinja file that every model is served with
  std::string tool_parser = "auto";              // auto, none, or how the outputs of every model hold tool calls
  std::string reasoning_parser = "auto";         // auto, none or think: whether outputs hold a reasoning part
  int64_t memory_budget_bytes = 0;               // of the device, over all models; 0: what it has left
  bool tokenizer_check = true;
  std::string tokenizer_fingerprint;  // accepted ones, with commas; empty: any
  std::string memory_budget_file;     // RuntimeBudget; empty: none
  MpsMode mps = MpsMode::kAuto;
  MpsPriority mps_priority = MpsPriority::kInherited;

  absl::Duration gemm_timing = absl::Seconds(2);  // of a warm-up on CUDA, for the algorithms of products
  std::string gemm_cache = "auto";                // auto, off, or a folder: where they are kept

  // False when config.json is enough.
  bool wants_weights() const { return !null_step_time.has_value() && load.load_format == models::LoadFormat::kAuto; }

  // Where memory is counted: --device, and the CPU for models that compute nothing.
  std::string memory_device() const { return null_step_time.has_value() ? "cpu" : load.device; }

  void AddFlags(base::FlagSet* flags) {
    AddHostFlags(flags);
    flags->AddText("memory-budget-file", &memory_budget_file,
                   "file with the bytes of the budget at present, read every second: fewer than at the start keep a "
                   "part of the KV cache unused until there are more again; 0 means all",
                   "none");
    flags->AddChoice("dtype", &load.dtype, {"auto", "bfloat16", "float16", "float32"},
                     "compute type: auto (the checkpoint's half type), bfloat16, float16, float32");
    flags->Add({.name = "load-format",
                .help = "auto, dummy (random weights from config.json alone) or null[:STEP_TIME] (no arithmetic): for "
                        "benchmarks",
                .default_text = "auto",
                .set = [this](const std::string& text) { return SetLoadFormat(text); }});
    flags->AddBool("tokenizer-check", &tokenizer_check,
                   "refuse to start with a tokenizer.json that loses text, gives other ids than its published "
                   "vocabulary, or belongs to another model");
    flags->AddText("tokenizer-fingerprint", &tokenizer_fingerprint,
                   "refuse to start unless each tokenizer has one of these fingerprints, separated by commas, as "
                   "`hadal plan` prints them",
                   "none");
    flags->AddText("chat-template", &chat_template,
                   "auto (the checkpoint's own template), a FILE.jinja, or a built-in style such as deepseek-v3.1");
    flags->AddChoice("tool-parser", &tool_parser,
                     {"auto", "none", "deepseek-v3", "deepseek-v3.1", "deepseek-v3.2", "deepseek-v4", "hermes",
                      "qwen3-coder", "mistral", "mistral-args", "llama-3"},
                     "how outputs hold tool calls: auto (as the chat template writes them), none, deepseek-v3, "
                     "deepseek-v3.1, deepseek-v3.2, deepseek-v4, hermes, qwen3-coder, mistral, mistral-args, llama-3");
    flags->AddChoice("reasoning-parser", &reasoning_parser, {"auto", "none", "think"},
                     "the reasoning part of outputs: auto (by template and vocabulary), none, think");
    flags->AddSwitch(
        "batch-invariant", &load.batch_invariant,
        "equal bits in every batch: latent attention in one form, on CUDA tiles and splits that stay the same");
    flags->AddEnum("weights", &load.weights, {{"map", models::FileAccess::kMap}, {"copy", models::FileAccess::kCopy}},
                   "map (weights stay in the checkpoint's files) or copy (into memory; files may change then)");
    flags->AddDuration("gemm-timing", &gemm_timing,
                       "how long a start on CUDA may time algorithms of matrix products; 0: takes cuBLASLt's choice");
    flags->AddText("gemm-cache", &gemm_cache,
                   "folder that keeps the timed algorithms for the next start; auto (the user's cache folder), off");
    flags->AddInt("max-model-len", &load.max_model_len, {1, 1 << 30}, "context limit in tokens", "from config.json");
  }

  // Those that say what this host has, whatever is served with it.
  void AddHostFlags(base::FlagSet* flags) {
    flags->Add({.name = "model",
                .help =
                    "[NAME[,NAME...]=]DIR: Hugging Face checkpoint folder, or ORGANISATION/NAME in the local cache; "
                    "repeatable",
                .default_text = "the demo model",
                .set = [this](const std::string& text) { return AddModel(text); },
                .repeatable = true,
                .positional = true});
    flags->Add(
        {.name = "device",
         .help = "auto, cpu, cuda, cuda:N, torch (the best device of libtorch), torch:cpu, torch:cuda or torch:cuda:N",
         .default_text = load.device,
         .set = [this](const std::string& text) { return SetDevice(text); }});
    flags->AddInt("threads", &load.threads, {1, 1024}, "CPU compute threads", "cores");
    flags->AddBytes("memory-budget", &memory_budget_bytes, "bytes for weights, workspace and KV cache, e.g. 24GiB",
                    "auto");
    flags->AddEnum("mps", &mps, {{"auto", MpsMode::kAuto}, {"require", MpsMode::kRequire}, {"off", MpsMode::kOff}},
                   "NVIDIA MPS: auto (where its daemon answers), require (else no start), off (pass by the daemon)");
    flags->AddEnum("mps-client-priority", &mps_priority,
                   {{"normal", MpsPriority::kNormal}, {"below-normal", MpsPriority::kBelowNormal}},
                   "this process among the clients of MPS: normal, below-normal (offline work)", "inherited");
  }

 private:
  absl::Status AddModel(const std::string& text);
  absl::Status SetDevice(const std::string& text);
  absl::Status SetLoadFormat(const std::string& text);
};

}  // namespace hadal::commands
