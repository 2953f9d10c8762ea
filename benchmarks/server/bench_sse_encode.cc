// SPDX-License-Identifier: Apache-2.0
// Cost of a generated token in the HTTP front: read from the stream, detokenised, parsed, encoded as server-sent
// events. Argument: tokens that have piled up at each read (1: every token becomes an event of its own). Run in the
// source folder, or with HADAL_SOURCE_DIR set: the demo model's tokenizer is used.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "models/tokenizer/tokenizer.h"
#include "server/http/codec/response_encoder.h"
#include "server/service/active_call.h"

namespace {

using namespace hadal;  // NOLINT: a benchmark

std::shared_ptr<const tokenizer::Tokenizer> LoadTokenizer() {
  const char* root = std::getenv("HADAL_SOURCE_DIR");
  auto tokenizer = tokenizer::Tokenizer::Load(std::string(root == nullptr ? "." : root) + "/models/demo");
  return tokenizer.ok() ? *tokenizer : nullptr;
}

void RunStream(benchmark::State& state, bool chat, int top_logprobs) {
  const std::shared_ptr<const tokenizer::Tokenizer> tokenizer = LoadTokenizer();
  if (tokenizer == nullptr) {
    state.SkipWithError("models/demo was not found: run in the source folder");
    return;
  }
  const std::vector<int32_t> tokens =
      tokenizer->Encode("The sum of 17 and 25 is 42, 十七加二十五等于四十二。 ").value();
  const int merged = static_cast<int>(state.range(0));
  auto model = std::make_shared<service::ServedModel>();
  model->name = "demo";
  model->tokenizer = tokenizer;
  auto stream = std::make_shared<request::TokenStream>(1 << 20);
  service::ActiveCall::Options options;
  options.model = model;
  options.request_id = "bench";
  options.stream = stream;
  options.text.parse = chat;
  options.text.logprobs = top_logprobs >= 0;
  http::Calls calls;
  calls.push_back(std::make_unique<service::ActiveCall>(std::move(options)));
  const http::ResponseHead head{"chatcmpl-0123456789abcdef", 1790000000, "demo", "fp_0123456789abcdef"};
  std::unique_ptr<http::ResponseEncoder> encoder =
      chat ? http::MakeChatStreamEncoder(head, {}, calls)
           : http::MakeCompletionStreamEncoder(head, {}, calls, {}, top_logprobs >= 0);
  std::string out;
  size_t next = 0;
  int64_t bytes = 0;
  for (auto _ : state) {
    for (int i = 0; i < merged; ++i) {
      request::TokenEvent event;
      event.token_id = tokens[next++ % tokens.size()];
      event.logprob = -0.25f;
      for (int top = 0; top < top_logprobs; ++top) event.top.push_back({event.token_id, -0.25f});
      stream->PushToken(std::move(event));
    }
    encoder->Add(0, calls[0]->Read(), &out);
    bytes += static_cast<int64_t>(out.size());
    out.clear();
  }
  stream->Close(absl::OkStatus(), {});
  calls[0]->Read();
  state.SetItemsProcessed(state.iterations() * merged);
  state.SetBytesProcessed(bytes);
}

void ChatStream(benchmark::State& state) { RunStream(state, /*chat=*/true, -1); }
void CompletionStream(benchmark::State& state) { RunStream(state, /*chat=*/false, -1); }
void ChatStreamWithLogprobs(benchmark::State& state) { RunStream(state, /*chat=*/true, 5); }

BENCHMARK(ChatStream)->Arg(1)->Arg(8)->Arg(64);
BENCHMARK(CompletionStream)->Arg(1)->Arg(8);
BENCHMARK(ChatStreamWithLogprobs)->Arg(1)->Arg(8);

}  // namespace

BENCHMARK_MAIN();
