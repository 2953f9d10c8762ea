// SPDX-License-Identifier: Apache-2.0
#include "server/commands/model_loading.h"

#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/read_file.h"
#include "models/null_model.h"
#include "models/registry.h"
#include "models/tokenizer/fingerprint.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/base/strings.h"
#include "server/commands/generation_defaults.h"

namespace hadal::commands {
namespace {

constexpr int64_t kMaxTemplateFileBytes = 1 << 20;

absl::StatusOr<std::string> ReadTemplateFile(const std::string& path) {
  absl::StatusOr<std::string> text = base::ReadFile(path, kMaxTemplateFileBytes);
  if (!text.ok()) return absl::InvalidArgumentError(absl::StrCat("--chat-template: ", text.status().message()));
  if (text->empty()) return absl::InvalidArgumentError(absl::StrCat("--chat-template: ", path, ": the file is empty"));
  return text;
}

absl::StatusOr<chat::ChatTemplate> MakeChatTemplate(const std::string& wanted, const service::ServedModel& served) {
  using chat::ChatTemplate;
  if (wanted == "auto") return ChatTemplate::Detect(*served.tokenizer, served.info.family);
  if (std::string_view(wanted).ends_with(".jinja")) {
    const absl::StatusOr<std::string> text = ReadTemplateFile(wanted);
    if (!text.ok()) return text.status();
    return ChatTemplate::FromJinja(*text, wanted, {}, *served.tokenizer);
  }
  const std::optional<chat::ChatStyle> style = chat::ChatStyleFromName(wanted);
  if (style.has_value()) return ChatTemplate::ForStyle(*style, *served.tokenizer);
  return absl::InvalidArgumentError(
      absl::StrCat("--chat-template is '", wanted, "'; expected auto, ", chat::ChatStyleNames(), " or a file *.jinja"));
}

constexpr std::pair<std::string_view, chat::ToolSyntax> kToolParsers[] = {
    {"none", chat::ToolSyntax::kNone},
    {"deepseek-v3", chat::ToolSyntax::kDeepSeekV3},
    {"deepseek-v3.1", chat::ToolSyntax::kDeepSeekV31},
    {"deepseek-v3.2", chat::ToolSyntax::kDsmlV32},
    {"deepseek-v4", chat::ToolSyntax::kDsmlV4},
    {"hermes", chat::ToolSyntax::kHermes},
    {"qwen3-coder", chat::ToolSyntax::kQwenXml},
    {"mistral", chat::ToolSyntax::kMistral},
    {"mistral-args", chat::ToolSyntax::kMistralArgs},
    {"llama-3", chat::ToolSyntax::kLlama3}};

std::string_view ToolParserName(chat::ToolSyntax syntax) {
  for (const auto& [name, known] : kToolParsers) {
    if (known == syntax) return name;
  }
  return "none";
}

// How chats become prompts and outputs become tool calls; in the log by what both were chosen. A template that does not
// compile ends the start, a checkpoint without one serves plain completions.
absl::Status ChooseChatTemplate(const ModelOptions& options, const std::string& dir, service::ServedModel* served) {
  served->chat_template = MakeChatTemplate(options.chat_template, *served);
  if (!served->chat_template.ok()) {
    const absl::Status& status = served->chat_template.status();
    if (status.code() == absl::StatusCode::kInvalidArgument) {
      const bool own = options.chat_template == "auto";
      return absl::InvalidArgumentError(
          own ? absl::StrCat(dir, "/", status.message(), "; --chat-template can name a style or another file")
              : std::string(status.message()));
    }
    base::Log(base::LogLevel::kWarn, "loader", absl::StrCat(served->name, ": ", status.message()));
    return absl::OkStatus();
  }
  chat::ChatTemplate& chosen = *served->chat_template;
  for (const auto& [name, syntax] : kToolParsers) {
    if (options.tool_parser == name) chosen.set_tool_syntax(syntax);
  }
  if (options.reasoning_parser != "auto") chosen.set_has_reasoning(options.reasoning_parser == "think");
  const bool guessed = chosen.origin() == "the vocabulary";
  base::Log(guessed ? base::LogLevel::kWarn : base::LogLevel::kInfo, "loader",
            absl::StrCat(served->name, ": chats are rendered as ", base::View(chat::ChatStyleName(chosen.style())),
                         ", by ", base::View(chosen.origin()),
                         guessed ? ", for lack of a template; --chat-template overrides this" : "", "; tool parser ",
                         base::View(ToolParserName(chosen.tool_syntax())), ", reasoning parser ",
                         chosen.has_reasoning() ? "think" : "none"));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<models::Model>> LoadWeights(const ServerConfig& config, const ModelFlag& flag,
                                                           std::function<void(checkpoint::LoadProgress)> progress,
                                                           const pipeline::LeaderContext& pipeline,
                                                           base::Notification* cancelled) {
  models::LoadOptions options = config.model.load;
  options.dir = flag.dir;
  options.name = flag.name;
  options.max_batch_tokens = config.engine.max_batch_tokens;
  options.max_batch_size = config.engine.max_batch_size;
  options.progress = std::move(progress);
  options.algorithm_folder = AlgorithmFolder(config.model.gemm_cache);
  options.timing_limit_us = absl::ToInt64Microseconds(config.model.gemm_timing);
  const auto log = [&flag](base::LogLevel level) {
    return [level, name = flag.name](const std::string& line) {
      base::Log(level, "device", absl::StrCat(name, ": ", line));
    };
  };
  options.warn = log(base::LogLevel::kWarn);
  options.note = log(base::LogLevel::kInfo);
  if (config.pipeline.enabled()) return pipeline::LoadPipeline(options, config.pipeline, pipeline, cancelled);
  return models::LoadModel(options);
}

absl::StatusOr<std::unique_ptr<models::Model>> MakeNullModel(const ServerConfig& config, const ModelFlag& flag,
                                                             int32_t vocab_size) {
  models::NullModel::Options options;
  options.name = flag.name;
  options.vocab_size = vocab_size;
  options.step_latency = absl::ToChronoMicroseconds(*config.model.null_step_time);
  if (config.model.load.max_model_len > 0) options.max_model_len = config.model.load.max_model_len;
  absl::StatusOr<std::unique_ptr<models::NullModel>> model = models::NullModel::Create(options);
  if (!model.ok()) return model.status();
  return *std::move(model);
}

absl::Status CheckFingerprint(const ModelOptions& options, const std::string& dir, const std::string& found) {
  if (options.tokenizer_fingerprint.empty()) return absl::OkStatus();
  for (const absl::string_view accepted : absl::StrSplit(options.tokenizer_fingerprint, ',')) {
    if (absl::StripAsciiWhitespace(accepted) == found) return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(dir, ": the tokenizer has the fingerprint ", found,
                                                 ", but --tokenizer-fingerprint is ", options.tokenizer_fingerprint));
}

absl::StatusOr<std::shared_ptr<service::ServedModel>> MakeServedModel(
    const ServerConfig& config, const ModelFlag& flag, int index, const models::ModelInfo& info,
    std::shared_ptr<const tokenizer::Tokenizer> tokenizer) {
  if (tokenizer->vocab_size() > info.vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: tokenizer.json has ids up to %d, but the model's embedding has only %d rows", flag.dir,
                        tokenizer->vocab_size() - 1, info.vocab_size));
  }
  const absl::StatusOr<std::string> fingerprint =
      TokenizerFingerprint(config.model, flag.dir, *tokenizer, info.vocab_size);
  if (!fingerprint.ok()) return fingerprint.status();
  base::Log(base::LogLevel::kInfo, "loader", absl::StrCat(flag.name, ": tokenizer ", *fingerprint));
  auto served = std::make_shared<service::ServedModel>();
  served->name = flag.name;
  served->info = info;
  served->tokenizer = tokenizer;
  if (absl::Status status = ChooseChatTemplate(config.model, flag.dir, served.get()); !status.ok()) return status;
  absl::StatusOr<service::GenerationDefaults> defaults = ReadGenerationDefaults(flag.dir);
  if (!defaults.ok()) return defaults.status();
  served->defaults = *defaults;
  served->grammar_compiler = grammar::GrammarCompiler::Create(std::move(tokenizer), info.vocab_size);
  served->model_index = index;
  served->created_unix_s = absl::ToUnixSeconds(absl::Now());
  return served;
}

}  // namespace

absl::StatusOr<std::string> TokenizerFingerprint(const ModelOptions& options, const std::string& dir,
                                                 const tokenizer::Tokenizer& tokenizer, int32_t embedding_rows) {
  if (options.tokenizer_check) {
    if (absl::Status status = tokenizer::CheckTokenizer(tokenizer, embedding_rows); !status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(dir, ": ", status.message(), "; --tokenizer-check=false serves it all the same"));
    }
  }
  std::string fingerprint = tokenizer::Fingerprint(tokenizer);
  if (absl::Status status = CheckFingerprint(options, dir, fingerprint); !status.ok()) return status;
  return fingerprint;
}

absl::StatusOr<LoadedModel> LoadServedModel(const ServerConfig& config, const ModelFlag& flag, int index,
                                            std::function<void(checkpoint::LoadProgress)> progress,
                                            const pipeline::LeaderContext& pipeline, base::Notification* cancelled) {
  const absl::Time start = base::Clock::Real()->Now();
  // The tokenizer is parsed while the weights are read: for a small model it is the longer part.
  absl::StatusOr<std::shared_ptr<const tokenizer::Tokenizer>> tokenizer = absl::UnknownError("not loaded");
  std::thread tokenizer_thread([&] { tokenizer = tokenizer::Tokenizer::Load(flag.dir); });
  const bool null_model = config.model.null_step_time.has_value();
  absl::StatusOr<std::unique_ptr<models::Model>> model = absl::UnknownError("not loaded");
  if (!null_model) model = LoadWeights(config, flag, std::move(progress), pipeline, cancelled);
  tokenizer_thread.join();
  if (!tokenizer.ok()) return tokenizer.status();
  if (null_model) model = MakeNullModel(config, flag, (*tokenizer)->vocab_size());
  if (!model.ok()) return model.status();

  const models::ModelInfo& info = (*model)->info();
  absl::StatusOr<std::shared_ptr<service::ServedModel>> served =
      MakeServedModel(config, flag, index, info, *std::move(tokenizer));
  if (!served.ok()) return served.status();
  base::Log(base::LogLevel::kInfo, "loader",
            absl::StrFormat("loaded %s: %s, %s, %.2f GB of weights in %.2f s on %s", flag.name, info.family, info.dtype,
                            static_cast<double>(info.weights_bytes) / 1e9,
                            absl::ToDoubleSeconds(base::Clock::Real()->Now() - start), info.device_text));
  return LoadedModel{*std::move(model), *std::move(served)};
}

}  // namespace hadal::commands
