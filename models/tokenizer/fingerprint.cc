// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/fingerprint.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace hadal::tokenizer {
namespace {

// They tell the published pre-tokenizers apart, and what they give is the same in all checkpoints of a vocabulary.
constexpr std::string_view kProbes[] = {"ied 4 ½ months", "\n\n\n", " Hello World!", "3333", "你好，世界 12345 x"};
constexpr size_t kProbeCount = std::size(kProbes);

// Only what every vocabulary can write; no leading space, which some tokenizers add themselves.
constexpr std::string_view kPlainTexts[] = {"Hello world", "if (x > 10) {\n  return 3 + 4;\n}\n"};

struct PublishedVocabulary {
  std::string_view name;
  std::vector<int32_t> rows;  // of the embeddings of its models
  int32_t hello, world;       // ids of "Hello" and " world": whatever cuts the text, these are its tokens
  std::vector<int32_t> probe_ids[kProbeCount];
};

const std::vector<PublishedVocabulary>& PublishedVocabularies() {
  static const auto* const vocabularies = new std::vector<PublishedVocabulary>{
      {"DeepSeek LLM and V2",
       {102400},
       17464,
       1843,
       {{1052, 207, 19, 207, 19109, 4223},
        {185, 185, 185},
        {37727, 5427, 0},
        {18, 18, 18, 18},
        {84313, 19304, 4997, 207, 16, 17, 18, 19, 20, 1376}}},
      {"DeepSeek Coder",
       {32256},
       17535,
       1835,
       {{1050, 207, 19, 207, 19192, 4217},
        {185, 185, 185},
        {414, 9489, 5414, 0},
        {18, 18, 18, 18},
        {1367, 1248, 19385, 4986, 207, 16, 17, 18, 19, 20, 1371}}},
      {"DeepSeek V3",
       {129280},
       19923,
       2058,
       {{1199, 223, 22, 223, 23951, 4447},
        {6328},
        {45948, 4495, 3},
        {11722, 21},
        {30594, 303, 3427, 223, 6895, 1883, 1527}}},
      {"Qwen 2",
       {151936, 152064},
       9707,
       1879,
       {{1122, 220, 19, 220, 26062, 3951},
        {1406},
        {21927, 4337, 0},
        {18, 18, 18, 18},
        {108386, 3837, 99489, 220, 16, 17, 18, 19, 20, 856}}},
      {"Llama 3",
       {128256},
       9906,
       1917,
       {{1142, 220, 19, 220, 27154, 4038},
        {1432},
        {22691, 4435, 0},
        {8765, 18},
        {57668, 53901, 3922, 102616, 220, 4513, 1774, 865}}},
  };
  return *vocabularies;
}

absl::string_view Absl(std::string_view text) { return {text.data(), text.size()}; }

// As for a user's text: what it spells is never a control token.
std::vector<int32_t> Encode(const Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.Encode(text).value_or(std::vector<int32_t>());
}

// The published vocabulary that this one is, or null.
const PublishedVocabulary* Recognise(const Tokenizer& tokenizer) {
  const std::vector<PublishedVocabulary>& all = PublishedVocabularies();
  const auto found = std::find_if(all.begin(), all.end(), [&](const PublishedVocabulary& vocabulary) {
    return tokenizer.TokenBytes(vocabulary.hello) == "Hello" && tokenizer.TokenBytes(vocabulary.world) == " world";
  });
  return found == all.end() ? nullptr : &*found;
}

class Hash {
 public:
  void Add(std::string_view bytes) {
    for (const char byte : bytes) Mix(static_cast<uint8_t>(byte));
    Mix(0x100);  // where one text ends
  }
  void Add(const std::vector<int32_t>& ids) {
    for (const int32_t id : ids) Mix(static_cast<uint32_t>(id));
    Mix(uint64_t{1} << 32);
  }
  uint64_t value() const { return value_; }

 private:
  // FNV-1a, by word.
  void Mix(uint64_t word) { value_ = (value_ ^ word) * 0x100000001b3ull; }
  uint64_t value_ = 0xcbf29ce484222325ull;
};

}  // namespace

std::string Fingerprint(const Tokenizer& tokenizer) {
  Hash hash;
  std::vector<int32_t> control;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    hash.Add(tokenizer.TokenBytes(id));
    if (tokenizer.IsControl(id)) control.push_back(id);
  }
  hash.Add(control);
  for (const std::string_view probe : kProbes) hash.Add(Encode(tokenizer, probe));
  for (const std::string_view text : kPlainTexts) hash.Add(Encode(tokenizer, text));
  return absl::StrFormat("tk_%016x", hash.value());
}

absl::Status CheckTokenizer(const Tokenizer& tokenizer, int32_t embedding_rows) {
  for (const std::string_view text : kPlainTexts) {
    const std::string back = tokenizer.Decode(Encode(tokenizer, text), /*skip_special_tokens=*/false);
    // Some put a space in front.
    if (back == text || (!back.empty() && back[0] == ' ' && back.substr(1) == text)) continue;
    return absl::InvalidArgumentError(absl::StrCat("tokenizer.json loses text: \"", absl::CEscape(Absl(text)),
                                                   "\" comes back from its ids as \"", absl::CEscape(back), "\""));
  }
  const PublishedVocabulary* const published = Recognise(tokenizer);
  if (published == nullptr) return absl::OkStatus();
  for (size_t i = 0; i < kProbeCount; ++i) {
    const std::vector<int32_t> ids = Encode(tokenizer, kProbes[i]);
    if (ids == published->probe_ids[i]) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer.json has the vocabulary of ", Absl(published->name), ", but gives \"",
                     absl::Utf8SafeCEscape(Absl(kProbes[i])), "\" the ids ", absl::StrJoin(ids, " "), " instead of ",
                     absl::StrJoin(published->probe_ids[i], " "), ": its merges or its pre_tokenizer were changed"));
  }
  for (const PublishedVocabulary& other : PublishedVocabularies()) {
    if (&other == published || std::find(other.rows.begin(), other.rows.end(), embedding_rows) == other.rows.end()) {
      continue;
    }
    return absl::InvalidArgumentError(absl::StrCat("tokenizer.json has the vocabulary of ", Absl(published->name),
                                                   ", but the model's embedding of ", embedding_rows,
                                                   " rows is that of ", Absl(other.name)));
  }
  return absl::OkStatus();
}

}  // namespace hadal::tokenizer
