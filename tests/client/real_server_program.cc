// SPDX-License-Identifier: Apache-2.0
// test_cpp_recipe.py compiles this against the public headers and runs it with the address of a real server. It prints
// a line for each thing that went as it should.
#include <future>
#include <iostream>
#include <string>
#include <vector>

#include "client/client.h"
#include "client/complete_all.h"

namespace {

using hadal::client::Client;
using hadal::client::CompletionOptions;
using hadal::client::Generation;
using hadal::client::Piece;

std::optional<Piece> NextOf(Generation& generation) {
  std::promise<std::optional<Piece>> next;
  generation.Next([&](std::optional<Piece> piece) { next.set_value(std::move(piece)); });
  return next.get_future().get();
}

void EndThinking(Client& client) {
  hadal::client::ChatOptions question;
  question.messages = {{"user", "x"}};
  question.max_tokens = 1500;
  question.reasoning_control = true;
  const std::unique_ptr<Generation> chat = client.StartChat(question);
  std::optional<Piece> piece = NextOf(*chat);
  if (!piece.has_value() || piece->reasoning.empty()) return;
  std::promise<absl::Status> ended;
  chat->EndThinking([&](absl::Status status) { ended.set_value(std::move(status)); });
  const absl::Status status = ended.get_future().get();
  if (!status.ok()) std::cerr << status << "\n";
  while (piece.has_value() && piece->text.empty()) piece = NextOf(*chat);
  if (status.ok() && piece.has_value()) std::cout << "thinking ended\n";
}

void AskOnce(Client& client) {
  CompletionOptions once;
  once.prompt = "1, 2, 3";
  once.temperature = 0;
  once.max_tokens = 5;
  const auto ignore = [](std::string_view, std::string_view) { return true; };
  const auto first = client.Complete(once, ignore), second = client.Complete(once, ignore);
  if (first.ok() && second.ok() && !first->from_cache && second->from_cache && first->text == second->text) {
    std::cout << "asked once\n";
  }
}

void AskForMany(Client& client) {
  std::vector<CompletionOptions> calls(20);
  for (size_t i = 0; i < calls.size(); ++i) {
    calls[i].token_ids.assign(i + 1, 5);
    calls[i].max_tokens = 2;
  }
  int whole = 0;
  for (const auto& result : CompleteAll(client, calls, 4))
    whole += result.ok() && result->completion_tokens > 0 ? 1 : 0;
  std::cout << whole << " answered\n";
}

void TokenizeAChat(Client& client) {
  hadal::client::TokenizeOptions options;
  options.messages = {{"user", "17 + 25"}};
  const auto tokens = client.Tokenize(options);
  hadal::client::ChatOptions question;
  question.messages = options.messages;
  question.max_tokens = 1;
  const auto answer = client.Chat(question, [](std::string_view, std::string_view) { return true; });
  if (tokens.ok() && answer.ok() && tokens->token_ids.size() == static_cast<size_t>(answer->prompt_tokens) &&
      tokens->max_model_len > 0) {
    std::cout << "the tokens of a chat\n";
  }
}

}  // namespace

int main(int, char** arguments) {
  const auto client =
      Client::Connect({.targets = {arguments[1]}, .coalesce = true, .cache = {.memory_bytes = 1'000'000}});
  if (!client.ok()) return 1;
  EndThinking(**client);
  AskOnce(**client);
  AskForMany(**client);
  TokenizeAChat(**client);
}
