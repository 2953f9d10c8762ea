// SPDX-License-Identifier: Apache-2.0
#include "server/base/config.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "server/base/strings.h"

namespace hadal::base {
namespace {

// One flag: how its text becomes a member, and what the default looks like.
struct Option {
  std::string name;
  std::string help;
  std::string default_text;
  std::function<absl::Status(const std::string&)> set;
  bool is_switch = false;
  bool repeatable = false;
};

template <typename Int>
std::function<absl::Status(const std::string&)> SetInt(Int* target, int64_t min, int64_t max) {
  return [=](const std::string& text) -> absl::Status {
    int64_t value = 0;
    if (!absl::SimpleAtoi(text, &value) || value < min || value > max) {
      return absl::InvalidArgumentError(
          absl::StrCat("expected a whole number from ", min, " to ", max, ", found '", text, "'"));
    }
    *target = static_cast<Int>(value);
    return absl::OkStatus();
  };
}

std::function<absl::Status(const std::string&)> SetText(std::string* target) {
  return [=](const std::string& text) -> absl::Status {
    *target = text;
    return absl::OkStatus();
  };
}

std::function<absl::Status(const std::string&)> SetChoice(std::string* target, std::vector<std::string> choices) {
  return [=](const std::string& text) -> absl::Status {
    for (const std::string& choice : choices) {
      if (text == choice) {
        *target = text;
        return absl::OkStatus();
      }
    }
    return absl::InvalidArgumentError(
        absl::StrCat("expected one of ", absl::StrJoin(choices, ", "), ", found '", text, "'"));
  };
}

std::function<absl::Status(const std::string&)> SetBool(bool* target) {
  return [=](const std::string& text) -> absl::Status {
    if (!absl::SimpleAtob(text, target)) {
      return absl::InvalidArgumentError(absl::StrCat("expected true or false, found '", text, "'"));
    }
    return absl::OkStatus();
  };
}

std::function<absl::Status(const std::string&)> SetBytes(int64_t* target) {
  return [=](const std::string& text) -> absl::Status {
    if (text == "auto") {
      *target = 0;
      return absl::OkStatus();
    }
    absl::StatusOr<int64_t> bytes = ParseBytes(text);
    if (bytes.ok()) *target = *bytes;
    return bytes.status();
  };
}

std::function<absl::Status(const std::string&)> SetDuration(absl::Duration* target) {
  return [=](const std::string& text) -> absl::Status {
    absl::StatusOr<absl::Duration> duration = ParseDuration(text);
    if (duration.ok()) *target = *duration;
    return duration.status();
  };
}

absl::Status SetDevice(std::string* target, const std::string& text) {
  int index = 0;
  const bool numbered = text.starts_with("cuda:") && absl::SimpleAtoi(text.substr(5), &index) && index >= 0;
  if (text != "auto" && text != "cpu" && text != "cuda" && !numbered) {
    return absl::InvalidArgumentError(absl::StrCat("expected auto, cpu, cuda or cuda:N, found '", text, "'"));
  }
  *target = text;
  return absl::OkStatus();
}

absl::Status SetLoadFormat(std::string* target, const std::string& text) {
  const bool timed = text.starts_with("null:") && ParseDuration(text.substr(5)).ok();
  if (text != "auto" && text != "dummy" && text != "null" && !timed) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected auto, dummy, null or null:STEP_TIME such as null:5ms, found '", text, "'"));
  }
  *target = text;
  return absl::OkStatus();
}

absl::Status AddModel(std::vector<ModelFlag>* models, const std::string& text) {
  const size_t equals = text.find('=');
  const bool named = equals != std::string::npos && text.find('/') > equals;
  ModelFlag flag{named ? text.substr(0, equals) : "", named ? text.substr(equals + 1) : text};
  if (flag.dir.empty()) return absl::InvalidArgumentError(absl::StrCat("expected [NAME=]DIR, found '", text, "'"));
  if (flag.name.empty()) {
    std::filesystem::path path = std::filesystem::path(flag.dir).lexically_normal();
    if (path.filename().empty()) path = path.parent_path();
    flag.name = path.filename().string();
  }
  for (const ModelFlag& other : *models) {
    if (other.name == flag.name) {
      return absl::InvalidArgumentError(absl::StrCat("the name '", flag.name, "' is given twice; use NAME=DIR"));
    }
  }
  models->push_back(std::move(flag));
  return absl::OkStatus();
}

std::vector<Option> MakeOptions(ServerConfig* c) {
  constexpr int kMaxInt = std::numeric_limits<int>::max();
  std::vector<Option> options;
  auto add = [&](std::string name, std::string default_text, std::string help,
                 std::function<absl::Status(const std::string&)> set) -> Option& {
    options.push_back({std::move(name), std::move(help), std::move(default_text), std::move(set)});
    return options.back();
  };
  add("model", "the demo model", "[NAME=]DIR: Hugging Face checkpoint folder; repeatable",
      [c](const std::string& text) { return AddModel(&c->models, text); })
      .repeatable = true;
  add("host", c->host, "address to listen on", SetText(&c->host));
  add("port", "8000", "one port for gRPC and HTTP; 0 picks one and prints it", SetInt(&c->port, 0, 65535));
  add("grpc-port", "same as --port", "a port of its own for gRPC", SetInt(&c->grpc_port, 0, 65535));
  add("device", c->device, "auto, cpu, cuda or cuda:N",
      [c](const std::string& text) { return SetDevice(&c->device, text); });
  add("dtype", c->dtype, "compute type: auto (the checkpoint's half type), bfloat16, float16, float32",
      SetChoice(&c->dtype, {"auto", "bfloat16", "float16", "float32"}));
  add("load-format", c->load_format,
      "auto, dummy (random weights from config.json alone) or null[:STEP_TIME] (no arithmetic): for benchmarks",
      [c](const std::string& text) { return SetLoadFormat(&c->load_format, text); });
  add("chat-template", c->chat_template,
      "auto (the checkpoint's generation) or a style to render chats with, such as deepseek-v3.1",
      SetText(&c->chat_template));
  add("threads", "cores", "CPU compute threads", SetInt(&c->threads, 1, 1024));
  add("memory-budget", "auto", "bytes for weights, workspace and KV cache, e.g. 24GiB",
      SetBytes(&c->memory_budget_bytes));
  add("max-model-len", "from config.json", "context limit in tokens", SetInt(&c->max_model_len, 1, 1 << 30));
  add("kv-block-tokens", "64", "tokens in a KV block", SetInt(&c->kv_block_tokens, 1, 4096));
  add("max-batch-size", "256", "sequences in a step", SetInt(&c->max_batch_size, 1, 65536));
  add("max-batch-tokens", "2048", "tokens in a step", SetInt(&c->max_batch_tokens, 1, 1 << 20));
  add("batch-wait-us", "0", "how long an idle engine waits to gather a batch", SetInt(&c->batch_wait_us, 0, 10000000));
  add("max-queue-requests", "512", "requests waiting at most, over all classes",
      SetInt(&c->max_queue_requests, 0, kMaxInt));
  add("max-queue-tokens", "0", "prompt tokens waiting at most; 0 is off",
      SetInt(&c->max_queue_tokens, 0, std::numeric_limits<int64_t>::max()));
  add("overload-http-status", "503", "HTTP status of capacity refusals: 503 or 429", [c](const std::string& text) {
    if (text != "503" && text != "429") {
      return absl::InvalidArgumentError(absl::StrCat("expected 503 or 429, found '", text, "'"));
    }
    c->overload_http_status = text == "503" ? 503 : 429;
    return absl::OkStatus();
  });
  add("drain-timeout", "30s", "how long running requests may finish after SIGTERM", SetDuration(&c->drain_timeout));
  add("slow-reader-timeout", "60s", "how long a stream may be full before it is dropped",
      SetDuration(&c->slow_reader_timeout));
  add("stall-timeout", "30s", "liveness fails when runnable work makes no step for so long",
      SetDuration(&c->stall_timeout));
  add("request-timeout", "60s", "how long headers and body may take to arrive", SetDuration(&c->request_timeout));
  add("max-body", "16MiB", "largest request body", SetBytes(&c->max_body_bytes));
  add("max-connections", "4096", "open client connections at most", SetInt(&c->max_connections, 1, 1 << 20));
  add("api-key-file", "none", "bearer keys, one 'key tenant [class]' a line", SetText(&c->api_key_file));
  add("insecure-public", "false", "allow a public address without API keys", SetBool(&c->insecure_public)).is_switch =
      true;
  add("prefix-cache", "true", "share KV blocks of equal prompt prefixes", SetBool(&c->prefix_cache));
  add("grammar-threads", "2", "JSON schemas compiled at a time", SetInt(&c->grammar_threads, 1, 64));
  add("grammar-time-limit", "5s", "longest time to compile a JSON schema", SetDuration(&c->grammar_time_limit));
  add("grammar-cache", "64MiB", "memory for compiled JSON schemas that are kept", SetBytes(&c->grammar_cache_bytes));
  add("grammar-max-schema", "64KiB", "largest JSON schema", SetBytes(&c->grammar_max_schema_bytes));
  add("log-format", "text on a terminal, else json", "auto, text or json",
      SetChoice(&c->log_format, {"auto", "text", "json"}));
  add("log-level", c->log_level, "debug, info, warn or error",
      SetChoice(&c->log_level, {"debug", "info", "warn", "error"}));
  return options;
}

std::string EnvironmentName(const std::string& flag) {
  return absl::StrCat("HADAL_", absl::StrReplaceAll(absl::AsciiStrToUpper(flag), {{"-", "_"}}));
}

std::string Unknown(std::string_view what, std::string_view name, const std::vector<std::string>& known) {
  const std::string nearest = NearestName(name, known);
  return absl::StrCat("unknown ", View(what), " '", View(name), "'",
                      nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?"));
}

// Texts given for each flag by one source.
using Values = std::map<std::string, std::vector<std::string>>;

absl::StatusOr<Values> ReadFile(const std::string& path, const std::vector<std::string>& known) {
  Values values;
  if (!std::filesystem::is_regular_file(path)) {
    return absl::InvalidArgumentError(absl::StrCat("--config: no file '", path, "'"));
  }
  try {
    for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_file(path)) {
      const std::string key = absl::StrReplaceAll(item.fullname(), {{"_", "-"}});
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        return absl::InvalidArgumentError(absl::StrCat(path, ": ", Unknown("key", item.fullname(), known)));
      }
      values[key] = item.inputs;
    }
  } catch (const CLI::Error& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", error.what()));
  }
  return values;
}

// HADAL_ variables that are no flags but known to scripts and tests.
bool IsOtherVariable(std::string_view name) {
  static constexpr std::string_view kOthers[] = {
      "HADAL_BINARY",  "HADAL_BUILD_DIR",          "HADAL_CCACHE_DIR",    "HADAL_CONFIG",
      "HADAL_CPU_ISA", "HADAL_DEEPSEEK_TOKENIZER", "HADAL_DEMO_MODEL",    "HADAL_FUZZ_ITERATIONS",
      "HADAL_PRESET",  "HADAL_REQUIRE_GPU",        "HADAL_SKIP_OS_CHECK", "HADAL_SOURCE_DIR",
      "HADAL_VENV"};
  return std::find(std::begin(kOthers), std::end(kOthers), name) != std::end(kOthers);
}

}  // namespace

absl::StatusOr<ParsedConfig> ParseServerConfig(std::string_view subcommand, const std::vector<std::string>& args) {
  ParsedConfig parsed;
  const std::vector<Option> options = MakeOptions(&parsed.config);
  std::vector<std::string> names = {"config"};
  for (const Option& option : options) names.push_back(option.name);

  CLI::App app{absl::StrCat("hadal ", View(subcommand))};
  app.set_help_flag();  // our own, so that the caller prints it
  app.allow_extras();
  Values flags;
  std::string config_file;
  bool help = false;
  app.add_flag("-h,--help", help, "print this help");
  app.add_flag("--print-config", parsed.print_config, "print the effective configuration with its sources and exit");
  app.add_option("--config", config_file, "TOML file; unknown keys are refused");
  for (const Option& option : options) {
    CLI::Option* added;
    const std::string description = absl::StrCat(option.help, " [", option.default_text, "]");
    if (option.is_switch) {
      added = app.add_flag_function(
          "--" + option.name + "{true}", [](int64_t) {}, description);
    } else {
      added = app.add_option_function<std::vector<std::string>>(
          "--" + option.name, [](const std::vector<std::string>&) {}, description);
      added->expected(1)->multi_option_policy(option.repeatable ? CLI::MultiOptionPolicy::TakeAll
                                                                : CLI::MultiOptionPolicy::TakeLast);
      added->type_name(absl::AsciiStrToUpper(option.name.substr(option.name.rfind('-') + 1)));
    }
  }
  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));
  } catch (const CLI::Error& error) {
    return absl::InvalidArgumentError(error.what());
  }
  if (help) {
    parsed.help = app.help();
    return parsed;
  }
  const std::vector<std::string> extras = app.remaining();
  if (!extras.empty()) {
    std::string_view extra = extras.front();
    if (!extra.starts_with("--"))
      return absl::InvalidArgumentError(absl::StrCat("unexpected argument '", View(extra), "'"));
    extra.remove_prefix(2);
    return absl::InvalidArgumentError(Unknown("flag", extra.substr(0, extra.find('=')), names));
  }
  for (const Option& option : options) {
    const CLI::Option* given = app.get_option("--" + option.name);
    if (given->count() > 0) flags[option.name] = given->results();
  }

  Values environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!text.starts_with("HADAL_")) continue;
    const std::string_view name = text.substr(0, text.find('='));
    const std::string flag = absl::StrReplaceAll(absl::AsciiStrToLower(View(name.substr(6))), {{"_", "-"}});
    if (std::find(names.begin(), names.end(), flag) == names.end()) {
      if (IsOtherVariable(name)) continue;
      return absl::InvalidArgumentError(Unknown("variable", name, [&] {
        std::vector<std::string> variables;
        for (const std::string& known : names) variables.push_back(EnvironmentName(known));
        return variables;
      }()));
    }
    environment[flag] = {std::string(text.substr(name.size() + 1))};
  }
  if (config_file.empty() && environment.contains("config")) config_file = environment["config"].front();
  Values file;
  if (!config_file.empty()) {
    absl::StatusOr<Values> read = ReadFile(config_file, names);
    if (!read.ok()) return read.status();
    file = *std::move(read);
  }

  for (const Option& option : options) {
    ValueSource source = ValueSource::kDefault;
    const std::vector<std::string>* texts = nullptr;
    std::string where;
    if (auto it = flags.find(option.name); it != flags.end()) {
      source = ValueSource::kFlag, texts = &it->second, where = "--" + option.name;
    } else if (auto env = environment.find(option.name); env != environment.end()) {
      source = ValueSource::kEnvironment, texts = &env->second, where = EnvironmentName(option.name);
    } else if (auto key = file.find(option.name); key != file.end()) {
      source = ValueSource::kFile, texts = &key->second, where = absl::StrCat(config_file, ": ", option.name);
    }
    parsed.sources[option.name] = source;
    parsed.values[option.name] = option.default_text;
    if (texts == nullptr) continue;
    parsed.values[option.name] = absl::StrJoin(*texts, ",");
    for (const std::string& text : *texts) {
      if (absl::Status status = option.set(text); !status.ok()) {
        return absl::InvalidArgumentError(absl::StrCat(where, ": ", status.message()));
      }
    }
  }
  return parsed;
}

std::string ParsedConfig::ToToml() const {
  static constexpr std::string_view kSources[] = {"default", "file", "environment", "flag"};
  std::string out;
  for (const auto& [name, value] : values) {
    absl::StrAppend(&out, name, " = \"", absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"  # ",
                    View(kSources[static_cast<int>(sources.at(name))]), "\n");
  }
  return out;
}

}  // namespace hadal::base
