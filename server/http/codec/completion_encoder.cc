// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "base/utf8.h"
#include "models/tokenizer/detokenizer.h"
#include "server/http/codec/json_writer.h"
#include "server/http/codec/response_encoder.h"

namespace hadal::http {
namespace {

using service::CallUpdate;
using service::ChoiceDelta;
using service::ScoredToken;

// The four parallel lists of OpenAI's completion logprobs.
class LogprobLists {
 public:
  void Add(const tokenizer::Tokenizer& tokenizer, int32_t token_id, const ScoredToken* score, int64_t text_offset) {
    tokens_.String(TokenText(tokenizer, token_id));
    offsets_.Int(text_offset);
    if (score == nullptr) {  // the first token of a prompt has no score
      logprobs_.Null();
      tops_.Null();
      return;
    }
    logprobs_.Float(score->logprob);
    tops_.BeginObject();
    bool among_top = false;
    for (const request::TokenLogprob& top : score->top) {
      tops_.Key(TokenText(tokenizer, top.token_id)).Float(top.logprob);
      among_top = among_top || top.token_id == token_id;
    }
    // Clients look the token itself up here, so it is there beside those that were asked for.
    if (!among_top) tops_.Key(TokenText(tokenizer, token_id)).Float(score->logprob);
    tops_.EndObject();
  }

  bool empty() const { return tokens_text_.empty(); }

  void Append(JsonWriter* json) {
    json->BeginObject();
    json->Key("tokens").Raw("[" + tokens_text_ + "]").Key("token_logprobs").Raw("[" + logprobs_text_ + "]");
    json->Key("top_logprobs").Raw("[" + tops_text_ + "]").Key("text_offset").Raw("[" + offsets_text_ + "]").EndObject();
  }

 private:
  std::string tokens_text_, logprobs_text_, tops_text_, offsets_text_;
  JsonWriter tokens_{&tokens_text_}, logprobs_{&logprobs_text_}, tops_{&tops_text_}, offsets_{&offsets_text_};
};

class CompletionEncoderBase : public ResponseEncoder {
 public:
  CompletionEncoderBase(const ResponseHead& head, const ResponseOptions& options, const Calls& calls,
                        std::vector<std::string> echo, bool logprobs)
      : head_(head), options_(options), calls_(calls), echo_(std::move(echo)), logprobs_(logprobs) {}

 protected:
  // Prompt tokens in front of a choice's own, with their offsets in the echoed text.
  void AddPromptScores(size_t call_index, const std::vector<ScoredToken>& scores, LogprobLists* lists) const {
    const service::ActiveCall& call = *calls_[call_index];
    const tokenizer::Tokenizer& tokenizer = *call.model().tokenizer;
    tokenizer::Detokenizer detokenizer(tokenizer, /*skip_special_tokens=*/true);
    int64_t offset = 0;
    const std::vector<int32_t>& ids = call.prompt_token_ids();
    for (size_t i = 0; i < ids.size(); ++i) {
      lists->Add(tokenizer, ids[i], i > 0 && i <= scores.size() ? &scores[i - 1] : nullptr, offset);
      offset += base::CountCharacters(detokenizer.Append(ids[i]));
    }
  }

  void AddScores(size_t call_index, const std::vector<ScoredToken>& scores, LogprobLists* lists) const {
    const int64_t base = echo_.empty() ? 0 : base::CountCharacters(echo_[call_index]);
    const tokenizer::Tokenizer& tokenizer = *calls_[call_index]->model().tokenizer;
    for (const ScoredToken& score : scores) lists->Add(tokenizer, score.token_id, &score, base + score.text_offset);
  }

  size_t ChoiceIndex(size_t call_index, int32_t choice) const { return call_index * calls_.front()->n() + choice; }
  size_t ChoiceCount() const { return calls_.size() * calls_.front()->n(); }

  const ResponseHead head_;
  const ResponseOptions options_;
  const Calls& calls_;
  const std::vector<std::string> echo_;
  const bool logprobs_;
};

class CompletionStreamEncoder : public CompletionEncoderBase {
 public:
  CompletionStreamEncoder(const ResponseHead& head, const ResponseOptions& options, const Calls& calls,
                          std::vector<std::string> echo, bool logprobs)
      : CompletionEncoderBase(head, options, calls, std::move(echo), logprobs), started_(ChoiceCount()) {
    prefix_ = "data: ";
    JsonWriter json(&prefix_);
    json.BeginObject().Key("id").String(head.id).Key("object").String("text_completion");
    json.Key("created").Int(head.created_unix_s).Key("model").String(head.model);
    json.Key("system_fingerprint").String(head.fingerprint).Key("choices");
    suffix_ = options.include_usage ? ",\"usage\":null}\n\n" : "}\n\n";
  }

  void Add(size_t call_index, CallUpdate&& update, std::string* out) override {
    const service::ActiveCall& call = *calls_[call_index];
    if (!update.prompt_scores.empty()) {
      for (int32_t choice = 0; choice < call.n(); ++choice) Start(call_index, choice, update.prompt_scores, out);
    }
    for (ChoiceDelta& delta : update.deltas) {
      Start(call_index, delta.choice, {}, out);
      LogprobLists lists;
      if (logprobs_) AddScores(call_index, delta.logprobs, &lists);
      Event(ChoiceIndex(call_index, delta.choice), delta.text, &lists, service::FinishName(delta.finish),
            delta.token_ids, nullptr, out);
    }
  }

  void Finish(const service::Usage& usage, std::string* out) override {
    if (options_.include_usage) {
      out->append(prefix_).append("[],\"usage\":");
      AppendUsage(usage, /*reasoning=*/false, out);
      out->append("}\n\n");
    }
    out->append(kDoneEvent);
  }

 private:
  // The event in front of a choice: the echoed prompt, the prompt's token ids.
  void Start(size_t call_index, int32_t choice, const std::vector<ScoredToken>& scores, std::string* out) {
    const size_t index = ChoiceIndex(call_index, choice);
    if (started_[index]) return;
    started_[index] = true;
    if (echo_.empty() && !options_.return_token_ids) return;
    LogprobLists lists;
    if (logprobs_ && !echo_.empty()) AddPromptScores(call_index, scores, &lists);
    Event(index, echo_.empty() ? "" : echo_[call_index], &lists, "", {},
          options_.return_token_ids ? &calls_[call_index]->prompt_token_ids() : nullptr, out);
  }

  void Event(size_t index, std::string_view text, LogprobLists* lists, std::string_view finish,
             const std::vector<int32_t>& token_ids, const std::vector<int32_t>* prompt_token_ids,
             std::string* out) const {
    out->append(prefix_).append("[{\"index\":");
    AppendJsonNumber(static_cast<int64_t>(index), out);
    out->append(",\"text\":");
    AppendJsonString(text, out);
    out->append(",\"logprobs\":");
    if (lists->empty()) {
      out->append("null");
    } else {
      JsonWriter json(out);
      lists->Append(&json);
    }
    out->append(",\"finish_reason\":");
    if (finish.empty()) {
      out->append("null");
    } else {
      AppendJsonString(finish, out);
    }
    if (prompt_token_ids != nullptr) {
      out->append(",\"prompt_token_ids\":");
      AppendTokenIds(*prompt_token_ids, out);
    }
    if (!token_ids.empty()) {
      out->append(",\"token_ids\":");
      AppendTokenIds(token_ids, out);
    }
    out->append("}]").append(suffix_);
  }

  std::string prefix_, suffix_;
  std::vector<bool> started_;
};

class CompletionEncoder : public CompletionEncoderBase {
 public:
  CompletionEncoder(const ResponseHead& head, const ResponseOptions& options, const Calls& calls,
                    std::vector<std::string> echo, bool logprobs)
      : CompletionEncoderBase(head, options, calls, std::move(echo), logprobs),
        choices_(ChoiceCount()),
        prompt_scores_(calls.size()) {}

  void Add(size_t call_index, CallUpdate&& update, std::string* out) override {
    if (!update.prompt_scores.empty()) prompt_scores_[call_index] = std::move(update.prompt_scores);
    for (ChoiceDelta& delta : update.deltas) {
      ChoiceDelta& choice = choices_[ChoiceIndex(call_index, delta.choice)];
      choice.text += delta.text;
      choice.token_ids.insert(choice.token_ids.end(), delta.token_ids.begin(), delta.token_ids.end());
      for (ScoredToken& token : delta.logprobs) choice.logprobs.push_back(std::move(token));
      if (delta.finish != service::Finish::kNone) choice.finish = delta.finish;
    }
  }

  void Finish(const service::Usage& usage, std::string* out) override {
    JsonWriter json(out);
    json.BeginObject().Key("id").String(head_.id).Key("object").String("text_completion");
    json.Key("created").Int(head_.created_unix_s).Key("model").String(head_.model);
    json.Key("choices").BeginArray();
    for (size_t call_index = 0; call_index < calls_.size(); ++call_index) {
      for (int32_t choice = 0; choice < calls_[call_index]->n(); ++choice) AppendChoice(call_index, choice, &json);
    }
    json.EndArray().Key("usage");
    std::string text;
    AppendUsage(usage, /*reasoning=*/false, &text);
    json.Raw(text).Key("system_fingerprint").String(head_.fingerprint).EndObject();
  }

 private:
  void AppendChoice(size_t call_index, int32_t number, JsonWriter* json) const {
    const size_t index = ChoiceIndex(call_index, number);
    const ChoiceDelta& choice = choices_[index];
    json->BeginObject().Key("index").Int(static_cast<int64_t>(index));
    json->Key("text").String(echo_.empty() ? choice.text : echo_[call_index] + choice.text);
    json->Key("logprobs");
    LogprobLists lists;
    if (logprobs_ && !echo_.empty()) AddPromptScores(call_index, prompt_scores_[call_index], &lists);
    if (logprobs_) AddScores(call_index, choice.logprobs, &lists);
    if (logprobs_) {
      lists.Append(json);
    } else {
      json->Null();
    }
    json->Key("finish_reason").String(service::FinishName(choice.finish));
    if (options_.return_token_ids) {
      std::string ids;
      AppendTokenIds(calls_[call_index]->prompt_token_ids(), &ids);
      json->Key("prompt_token_ids").Raw(ids);
      ids.clear();
      AppendTokenIds(choice.token_ids, &ids);
      json->Key("token_ids").Raw(ids);
    }
    json->EndObject();
  }

  std::vector<ChoiceDelta> choices_;
  std::vector<std::vector<ScoredToken>> prompt_scores_;
};

}  // namespace

std::unique_ptr<ResponseEncoder> MakeCompletionStreamEncoder(const ResponseHead& head, const ResponseOptions& options,
                                                             const Calls& calls, std::vector<std::string> echo,
                                                             bool logprobs) {
  return std::make_unique<CompletionStreamEncoder>(head, options, calls, std::move(echo), logprobs);
}

std::unique_ptr<ResponseEncoder> MakeCompletionEncoder(const ResponseHead& head, const ResponseOptions& options,
                                                       const Calls& calls, std::vector<std::string> echo,
                                                       bool logprobs) {
  return std::make_unique<CompletionEncoder>(head, options, calls, std::move(echo), logprobs);
}

}  // namespace hadal::http
