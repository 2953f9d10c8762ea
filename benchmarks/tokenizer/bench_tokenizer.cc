// SPDX-License-Identifier: Apache-2.0
// bench_tokenizer DIR CORPUS [SECONDS]: encoding and decoding speed on one thread as JSON, by processor time, so that
// other work on the machine disturbs it less. CORPUS holds one JSON string a line. compare_hf.py makes the corpora and
// runs Hugging Face tokenizers beside it.
#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/tokenizer/detokenizer.h"
#include "models/tokenizer/tokenizer.h"

namespace {

using hadal::tokenizer::Detokenizer;
using hadal::tokenizer::Tokenizer;

double Now() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

// Shortest time of one pass over the corpus within `budget` seconds; at least three passes.
template <typename Pass>
double BestPass(double budget, Pass pass) {
  double best = 1e30;
  const double start = Now();
  for (int i = 0; i < 3 || Now() - start < budget; ++i) {
    const double begin = Now();
    pass();
    best = std::min(best, Now() - begin);
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: bench_tokenizer DIR CORPUS [SECONDS]\n";
    return 2;
  }
  const double budget = argc > 3 ? std::atof(argv[3]) : 2.0;
  const double load_begin = Now();
  const auto loaded = Tokenizer::Load(argv[1]);
  const double load_seconds = Now() - load_begin;
  if (!loaded.ok()) {
    std::cerr << loaded.status().message() << "\n";
    return 1;
  }
  const Tokenizer& tokenizer = **loaded;

  std::vector<std::string> documents;
  size_t bytes = 0;
  std::ifstream corpus(argv[2]);
  for (std::string line; std::getline(corpus, line);) {
    documents.push_back(nlohmann::json::parse(line).get<std::string>());
    bytes += documents.back().size();
  }
  if (documents.empty()) {
    std::cerr << argv[2] << ": no documents\n";
    return 1;
  }

  std::vector<std::vector<int32_t>> encoded;
  const double encode_seconds = BestPass(budget, [&] {
    encoded.clear();
    for (const std::string& document : documents) {
      encoded.push_back(*tokenizer.Encode(document, {.allow_added_tokens = true}));
    }
  });
  size_t tokens = 0;
  for (const auto& ids : encoded) tokens += ids.size();
  size_t streamed_bytes = 0;
  const double stream_seconds = BestPass(budget / 4, [&] {
    streamed_bytes = 0;
    for (const auto& ids : encoded) {
      Detokenizer detokenizer(tokenizer, /*skip_special_tokens=*/true);
      for (const int32_t id : ids) streamed_bytes += detokenizer.Append(id).size();
      streamed_bytes += detokenizer.Flush().size();
    }
  });
  const nlohmann::json result = {{"documents", documents.size()},
                                 {"bytes", bytes},
                                 {"tokens", tokens},
                                 {"load_seconds", load_seconds},
                                 {"encode_mb_per_second", static_cast<double>(bytes) / 1e6 / encode_seconds},
                                 {"encode_tokens_per_second", static_cast<double>(tokens) / encode_seconds},
                                 {"detokenize_tokens_per_second", static_cast<double>(tokens) / stream_seconds},
                                 {"round_trip_bytes", streamed_bytes}};
  std::cout << result.dump() << "\n";
  return 0;
}
