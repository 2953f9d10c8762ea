// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/bench_options.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "benchmarks/hadal_bench/client/retry_policy.h"
#include "server/base/strings.h"

namespace hadal::bench {
namespace {

void AddNumber(base::FlagSet* flags, std::string name, double* target, double above, double max, std::string help) {
  flags->Add({std::move(name), std::move(help), absl::StrCat(*target),
              [target, above, max](const std::string& text) -> absl::Status {
                double value;
                if (absl::SimpleAtod(text, &value) && value > above && value <= max) {
                  *target = value;
                  return absl::OkStatus();
                }
                return absl::InvalidArgumentError(
                    absl::StrCat("expected a number above ", above, ", at most ", max, ", found '", text, "'"));
              },
              "NUMBER"});
}

// Whether a file can be written there, before a run is made for it. Empty: no file is wanted.
absl::Status CheckWritable(const std::string& path) {
  if (path.empty()) return absl::OkStatus();
  const std::filesystem::path file(path), folder = file.has_parent_path() ? file.parent_path() : ".";
  std::error_code error;
  const bool there = std::filesystem::exists(file, error);
  if (there && std::filesystem::is_directory(file, error)) {
    return absl::InvalidArgumentError(absl::StrCat("cannot write ", path, ": it is a folder"));
  }
  if (::access(there ? file.c_str() : folder.c_str(), W_OK) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("cannot write ", path, ": ", std::strerror(errno)));
}

// A flag whose text a parser turns into the target.
template <typename T, typename Parse>
void AddParsed(base::FlagSet* flags, std::string name, std::string help, std::string default_text, T* target,
               Parse parse) {
  flags->Add({std::move(name), std::move(help), std::move(default_text), [target, parse](const std::string& text) {
                auto value = parse(text);
                if (value.ok()) *target = *std::move(value);
                return value.status();
              }});
}

template <typename T, typename Parse>
void AddRepeated(base::FlagSet* flags, std::string name, std::string help, std::string default_text,
                 std::vector<T>* target, Parse parse) {
  flags->Add({.name = std::move(name),
              .help = std::move(help),
              .default_text = std::move(default_text),
              .set =
                  [target, parse](const std::string& text) {
                    auto value = parse(text);
                    if (value.ok()) target->push_back(*std::move(value));
                    return value.status();
                  },
              .repeatable = true});
}

}  // namespace

void BenchOptions::AddFlags(base::FlagSet* flags) {
  constexpr int kMaxInt = 1 << 30;
  flags->AddText("url", &url,
                 "the server: http://HOST:PORT or https://HOST, with the path in front of /v1 if there is one; "
                 "grpc://HOST:PORT for "
                 "hadal's own API, grpcs:// under TLS; or all of the call where it lies elsewhere, such as "
                 "https://NAME.openai.azure.com/openai/deployments/NAME/chat/completions?api-version=2024-10-21");
  flags->AddEnum("api", &api, {{"chat", OpenAiApi::kChat}, {"completions", OpenAiApi::kCompletions}},
                 "chat sends /v1/chat/completions (gRPC: Chat), completions /v1/completions (Generate)");
  flags->AddText("model", &model, "model name", "the first that the server lists");
  flags->AddText("api-key", &api_key,
                 "key of all requests; better in HADAL_BENCH_API_KEY, which no process list shows");
  AddRepeated(flags, "header", "a header of all requests as NAME=VALUE, over gRPC metadata; repeat it for several",
              "none", &additions.headers, [](const std::string& text) { return ParseHeaderField(text); });
  AddParsed(flags, "extra-body", "members to add to the JSON of all requests, such as {\"temperature\":0}", "none",
            &additions.body_members, [](const std::string& text) { return ParseBodyMembers(text); });
  flags->AddText("tls-ca", &ca_file, "PEM file with who may sign the server's certificate", "the system's");
  flags->AddSwitch("insecure", &insecure, "do not check the server's certificate");
  flags->AddInt("max-connections", &max_connections, {1, 1 << 20},
                "connections at most; a call that waits for one is counted and waits within its latency");

  flags->AddInt("grpc-channels", &grpc_channels, {1, 1024},
                "connections of a grpc:// URL; gRPC queues calls beyond a connection's stream limit");
  flags->AddText("rate", &rate,
                 "requests a second: 5, in steps 7,20@30,7@60 (from second 30 on 20/s), or rising 5..50");
  flags->AddEnum(
      "arrivals", &arrivals.kind,
      {{"poisson", ArrivalKind::kPoisson}, {"gamma", ArrivalKind::kGamma}, {"constant", ArrivalKind::kConstant}},
      "how the gaps between arrivals vary: poisson, gamma (in bursts, see --cv) or constant");
  AddNumber(flags, "cv", &arrivals.cv, 0, 100,
            "coefficient of variation of gamma arrivals; the Azure code trace has 13, Mooncake's conversations 3");
  flags->AddText(
      "trace", &trace,
      "replay this file instead of --rate and --lengths: Azure or BurstGPT CSV, Mooncake JSONL; up to --duration",
      "none");
  AddNumber(flags, "trace-speed", &trace_speed, 0, 1e6, "replay that many times as fast");
  flags->AddDuration("duration", &duration, "how long requests are started, the warm-up included");
  flags->AddDuration("warmup", &warmup, "requests that are started before are left out of all figures");
  flags->AddDuration("drain", &drain, "how long open requests may go on after --duration");
  flags->AddInt("runs", &runs, {1, 1000}, "repeat the run with other seeds; the report has median and range");
  flags->Add({"sweep",
              "one run at each of these rates, such as 10,20,50,100: the curve of goodput against offered load", "none",
              [this](const std::string& text) {
                sweep = absl::StrSplit(text, ',');
                return absl::OkStatus();
              },
              "RATE,..."});
  flags->AddSwitch(
      "find-capacity", &find_capacity,
      "search the highest rate that meets the first --slo, from --rate on, to 5 %; a run of --duration each");
  AddNumber(flags, "attain", &attain, 0, 1,
            "share of the offered requests within the service level that counts as met");
  flags->AddInt("seed", &arrivals.seed, {0, kMaxInt},
                "of arrivals and lengths; the same seed gives the same load, in other words (see --prompt-salt)");

  flags->AddText(
      "lengths", &lengths,
      absl::StrCat("tokens of prompts and outputs: PROMPT:OUTPUT or one of ", absl::StrJoin(LengthMixNames(), ", ")));
  AddNumber(flags, "length-scale", &limits.scale, 0, 1000, "multiplies all lengths");
  flags->AddInt("max-prompt-tokens", &limits.max_prompt_tokens, {1, kMaxInt}, "cut longer prompts to this", "none");
  flags->AddInt("max-output-tokens", &limits.max_output_tokens, {1, kMaxInt}, "cut longer outputs to this", "none");
  flags->AddText("prompt-file", &prompt_file,
                 "prompts in turn from this file, one a line (text, or JSON with \"prompt\"); else random words",
                 "none");
  flags->AddInt(
      "prompt-salt", &prompt_salt, {0, kMaxInt},
      "of the random words, as a run's result has it, to send the same text again; 0: another for each run, so "
      "that none finds the prompts of an earlier one in the server's prefix cache");
  flags->AddEnum(
      "exact-length", &exact_length,
      {{"auto", ExactLength::kAuto}, {"on", ExactLength::kOn}, {"off", ExactLength::kOff}},
      "ask for ignore_eos and min_tokens, so that outputs have their planned length: on, off, or auto (if the server "
      "takes them)");
  AddParsed(flags, "classes", "shares of scheduling classes, sent as x-hadal-priority, such as high:0.1,normal:0.9",
            "none", &classes, [](const std::string& text) { return ParseClasses(text); });
  AddRepeated(flags, "tenant", "a tenant as NAME=KEY or NAME=KEY:SHARE; repeat it for several", "none", &tenants,
              [](const std::string& text) { return ParseTenant(text); });
  flags->AddDuration("deadline", &deadline,
                     "tell the server that an answer is of no use after this (x-hadal-deadline-ms); 0: no");
  flags->AddDuration("timeout", &timeout, "the client's own patience with one attempt");

  flags->AddChoice("client", &client, RetryPolicyNames(),
                   "what clients do when refused: obey the hint (retry-after-ms, Retry-After); urllib3: Retry-After to "
                   "the second; backoff: 0.5 s * 2^n; text: the same when "
                   "服务器繁忙 is in the message; immediate: return at once; grpc: service config; none: never return");
  flags->AddInt("max-attempts", &max_attempts, {0, 1000}, "attempts of a request at most", "the client model's");
  flags->AddEnum(
      "tickets", &tickets, {{"auto", TicketMode::kAuto}, {"on", TicketMode::kOn}, {"off", TicketMode::kOff}},
      "bring back the x-hadal-ticket of a refusal, which keeps the place that it promised: on, off, or auto (with "
      "--client=obey)");

  AddRepeated(
      flags, "slo",
      "a service level of MLPerf, with its TTFT/TPOT in ms: r1 (2000/80), r1-interactive (1500/15), 8b (2000/100), "
      "8b-interactive (500/30), 70b (2000/200), 70b-interactive (450/40); or limits in ms as "
      "ttft=2000,tpot=80,e2e=30000; repeat it for several, the first one counts for goodput",
      "8b", &slos, [](const std::string& text) { return ParseSlo(text); });
  flags->AddEnum(
      "slo-from", &slo_from_attempt, {{"arrival", false}, {"attempt", true}},
      "what service levels count from: arrival (the scheduled time) or attempt (the start of the one that was served)");
  flags->AddText("json", &json, "write the result to this file", "none");
  flags->AddText("html", &html, "write a page with plots to this file; it needs nothing else", "none");
  flags->AddEnum("progress", &progress,
                 {{"auto", ProgressMode::kAuto}, {"always", ProgressMode::kAlways}, {"never", ProgressMode::kNever}},
                 "a line a second on stderr: always, never, or auto (when that is a terminal)");
}

absl::Status BenchOptions::Resolve() {
  const auto flag_error = [](absl::string_view flag, const absl::Status& status) {
    return absl::InvalidArgumentError(absl::StrCat("--", flag, ": ", status.message()));
  };
  const auto parsed_target = ParseTarget(url);
  if (!parsed_target.ok()) return flag_error("url", parsed_target.status());
  target = *parsed_target;
  if (!target.call_path.empty()) api = target.call_is_chat ? OpenAiApi::kChat : OpenAiApi::kCompletions;
  if ((insecure || !ca_file.empty()) && !target.tls()) {
    return absl::InvalidArgumentError(absl::StrCat("--", insecure ? "insecure" : "tls-ca", ": nothing of ", url,
                                                   " is under TLS; name it https:// or grpcs://"));
  }
  if (insecure && !ca_file.empty()) return absl::InvalidArgumentError("--insecure and --tls-ca exclude each other");
  target.insecure = insecure;
  target.ca_file = ca_file;
  if (target.grpc() && !additions.body_members.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--extra-body: ", url, " takes no JSON; name the server http://"));
  }
  if (duration <= absl::ZeroDuration()) return absl::InvalidArgumentError("--duration: must be above 0");
  if (warmup >= duration) {
    return absl::InvalidArgumentError(absl::StrCat("--warmup: ", absl::FormatDuration(warmup),
                                                   " leaves nothing of --duration ", absl::FormatDuration(duration),
                                                   " to measure"));
  }
  if (timeout <= absl::ZeroDuration()) return absl::InvalidArgumentError("--timeout: must be above 0");
  const auto profile = RateProfile::Parse(rate, absl::ToDoubleSeconds(duration));
  if (!profile.ok()) return flag_error("rate", profile.status());
  const auto parsed_mix = ParseLengthMix(lengths);
  if (!parsed_mix.ok()) return flag_error("lengths", parsed_mix.status());
  mix = *parsed_mix;
  for (const std::string& one : sweep) {
    const auto swept = RateProfile::Parse(one, absl::ToDoubleSeconds(duration));
    if (!swept.ok()) return flag_error("sweep", swept.status());
  }
  if (double one = 0; find_capacity && !absl::SimpleAtod(rate, &one)) {
    return absl::InvalidArgumentError(absl::StrCat("--rate: --find-capacity begins at one rate, found '", rate, "'"));
  }
  for (const auto& [flag, path] : {std::pair("json", &json), std::pair("html", &html)}) {
    if (absl::Status status = CheckWritable(*path); !status.ok()) return flag_error(flag, status);
  }
  const bool curve = !sweep.empty() || find_capacity;
  if (!sweep.empty() && find_capacity)
    return absl::InvalidArgumentError("--sweep and --find-capacity exclude each other");
  if (curve && !trace.empty())
    return absl::InvalidArgumentError("--trace has times of its own: not with --sweep or --find-capacity");
  if (curve && runs > 1)
    return absl::InvalidArgumentError("--runs repeats one load: not with --sweep or --find-capacity");
  if (slos.empty()) slos.push_back(*ParseSlo("8b"));
  return absl::OkStatus();
}

std::map<std::string, std::string> ReportedSettings(const base::ParsedFlags& parsed) {
  std::map<std::string, std::string> settings;
  for (const auto& [name, value] : parsed.values) {
    const bool secret =
        value.source != base::ValueSource::kDefault && (name == "api-key" || name == "tenant" || name == "header");
    settings[name] = secret ? "***" : value.text;
  }
  return settings;
}

}  // namespace hadal::bench
