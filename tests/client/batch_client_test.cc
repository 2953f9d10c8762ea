// SPDX-License-Identifier: Apache-2.0
// The batch client with hadal's own gRPC front and store.
#include "client/batch_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <coroutine>
#include <fstream>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/batch_coroutine.h"
#include "client/batch_lines.h"
#include "tests/server/rpc/batch_grpc_fixture.h"
#include "tests/support/temp_folder.h"

namespace hadal::client {
namespace {

using ::hadal::testing::BatchGrpcFixture;
using ::hadal::testing::GrpcFixture;
using ::hadal::testing::TempFolder;
using ::testing::HasSubstr;

std::unique_ptr<BatchClient> Connected(BatchGrpcFixture& fixture, ChannelOptions options = {}) {
  options.targets = {absl::StrCat("127.0.0.1:", fixture.grpc.server->port())};
  return BatchClient::Connect(options).value();
}
std::string Line() { return BatchLine("a", CompletionOptions()); }
NewBatch OfCompletions() { return {.endpoint = "/v1/completions", .metadata = {{"job", "test"}}}; }

std::string Content(BatchClient& client, const std::string& file) {
  std::string content;
  const absl::Status status = client.ReadFile(file, [&](std::string_view piece) {
    content.append(piece);
    return true;
  });
  EXPECT_TRUE(status.ok()) << status;
  return content;
}

// Has the runner's part done: `lines` of the batch end with results, the last one as failed.
void EndBatch(BatchGrpcFixture& fixture, const Batch& batch, int lines) {
  std::promise<absl::Status> done;
  ASSERT_TRUE(fixture.batches->TryPost([&](batches::Tables& tables) {
    done.set_value([&]() -> absl::Status {
      const auto found = tables.batches.Find("", batch.id);
      if (!found.ok()) return found.status();
      std::vector<batches::WaitingLine> waiting;
      std::vector<batches::EndedLine> ended;
      for (int i = 1; i <= lines; ++i) {
        waiting.push_back({.number = i, .custom_id = absl::StrCat("c", i), .offset = i, .length = 1});
        ended.push_back({found->number, i, i < lines, absl::StrCat("{\"n\":", i, "}\n")});
      }
      std::optional<batches::BatchError> repeated;
      (void)tables.batches.BeginReading(found->number);
      absl::Status status = tables.batches.AddLines(found->number, waiting, &repeated);
      if (status.ok()) status = tables.batches.Begin(found->number, 5).status();
      if (status.ok()) status = tables.batches.EndLines(ended).status();
      const auto now = tables.batches.Find("", batch.id);
      if (status.ok()) status = tables.batches.End(*now, batches::BatchStatus::kCompleted, 6).status();
      return status;
    }());
  }));
  const absl::Status status = done.get_future().get();
  EXPECT_TRUE(status.ok()) << status;
}

TEST(BatchClientTest, ABatchFromItsFileToItsResults) {
  BatchGrpcFixture fixture;
  const auto client = Connected(fixture);
  const absl::StatusOr<Batch> made = client->Submit({.text = Line(), .name = "mine.jsonl"}, OfCompletions());
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->state, BatchState::kValidating);
  EXPECT_FALSE(made->HasEnded());
  EXPECT_EQ(made->ended, absl::InfinitePast());
  EXPECT_EQ(made->endpoint, "/v1/completions");
  EXPECT_EQ(made->metadata.at("job"), "test");
  EXPECT_EQ(made->expires - made->created, absl::Hours(24));
  EXPECT_EQ(client->GetFile(made->input_file)->name, "mine.jsonl");
  EXPECT_EQ(Content(*client, made->input_file), Line());
  EXPECT_EQ(client->List()->items.at(0).id, made->id);

  std::promise<absl::StatusOr<Batch>> ended;
  int looks = 0;
  client->StartWait(made->id,
                    {.first_interval = absl::Milliseconds(1),
                     .max_interval = absl::Milliseconds(10),
                     .on_progress = [&looks](const Batch&) { return ++looks > 0; }},
                    [&](absl::StatusOr<Batch> batch) { ended.set_value(std::move(batch)); });
  EndBatch(fixture, *made, 3);
  const absl::StatusOr<Batch> batch = ended.get_future().get();
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->state, BatchState::kCompleted);
  EXPECT_EQ(batch->ended, absl::FromUnixSeconds(6));
  EXPECT_EQ(batch->total, 3);
  EXPECT_EQ(batch->completed, 2);
  EXPECT_EQ(batch->failed, 1);
  EXPECT_GT(looks, 0);
  std::vector<std::string> lines;
  const absl::Status read = client->ReadResults(*batch, [&](std::string_view line, bool failed) {
    lines.push_back(absl::StrCat(std::string(line), failed ? " failed" : ""));
    return true;
  });
  EXPECT_TRUE(read.ok()) << read;
  EXPECT_EQ(lines, (std::vector<std::string>{"{\"n\":1}", "{\"n\":2}", "{\"n\":3} failed"}));
  int wanted = 0;
  const absl::Status ended_early = client->ReadResults(*batch, [&](std::string_view, bool) { return ++wanted < 2; });
  EXPECT_TRUE(absl::IsCancelled(ended_early)) << ended_early;
  EXPECT_EQ(wanted, 2);
}

TEST(BatchClientTest, AFileOfThisMachineIsSentWhole) {
  BatchGrpcFixture fixture;
  const auto client = Connected(fixture);
  const TempFolder folder;
  const std::string path = folder.path() + "/in.jsonl";
  // Sizes at the borders of pieces.
  for (const size_t size : {size_t{0}, size_t{1}, size_t{256} << 10, (size_t{256} << 10) + 1, size_t{3'000'000}}) {
    std::string content;
    for (size_t i = 0; i < size; ++i) content.push_back(static_cast<char>(i * 31));
    std::ofstream(path, std::ios::binary) << content;
    const absl::StatusOr<BatchFile> by_path = client->UploadFile({.path = path});
    ASSERT_TRUE(by_path.ok()) << by_path.status();
    EXPECT_EQ(by_path->bytes, size);
    EXPECT_TRUE(Content(*client, by_path->id) == content) << size;
    const absl::StatusOr<BatchFile> by_text = client->UploadFile({.text = content, .keep = absl::Hours(2)});
    ASSERT_TRUE(by_text.ok()) << by_text.status();
    EXPECT_EQ(by_text->expires - by_text->created, absl::Hours(2));
    EXPECT_TRUE(Content(*client, by_text->id) == content) << size;
  }
  const absl::StatusOr<BatchFile> missing = client->UploadFile({.path = folder.path() + "/none"});
  EXPECT_TRUE(absl::IsNotFound(missing.status()));
  EXPECT_THAT(missing.status().message(), HasSubstr("/none': No such file"));
  const absl::StatusOr<BatchFile> no_file = client->UploadFile({.path = folder.path()});
  EXPECT_THAT(no_file.status().message(), HasSubstr("Is a directory"));
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.CountFiles() == 10; })) << "those two left nothing";
}

TEST(BatchClientTest, ListsComeInPages) {
  BatchGrpcFixture fixture;
  const auto client = Connected(fixture);
  std::vector<std::string> made, seen;
  for (int i = 0; i < 5; ++i) made.push_back(client->UploadFile({.text = "x"})->id);
  ListOptions options = {.page_size = 2, .oldest_first = true};
  for (bool more = true; more && seen.size() < 10; options.after = seen.back()) {
    const absl::StatusOr<Page<BatchFile>> page = client->ListFiles(options);
    ASSERT_TRUE(page.ok()) << page.status();
    for (const BatchFile& file : page->items) seen.push_back(file.id);
    more = page->has_more;
  }
  EXPECT_EQ(seen, made);
  EXPECT_TRUE(client->ListFiles({.purpose = "batch_output"})->items.empty());
  EXPECT_TRUE(client->DeleteFile(made[0]).ok());
  EXPECT_TRUE(absl::IsNotFound(client->DeleteFile(made[0])));
}

TEST(BatchClientTest, ABatchIsCancelled) {
  BatchGrpcFixture fixture;
  const auto client = Connected(fixture);
  const Batch made = client->Submit({.text = Line()}, OfCompletions()).value();
  EXPECT_EQ(client->Cancel(made.id)->state, BatchState::kCancelling);
  EXPECT_EQ(client->Get(made.id)->state, BatchState::kCancelling);
}

TEST(BatchClientTest, AnInputWhoseBatchIsRefusedIsDeleted) {
  BatchGrpcFixture fixture;
  const auto client = Connected(fixture);
  const absl::StatusOr<Batch> refused = client->Submit({.text = Line()}, {.endpoint = "/v1/embeddings"});
  EXPECT_TRUE(absl::IsUnimplemented(refused.status())) << refused.status();
  EXPECT_THAT(refused.status().message(), HasSubstr("`endpoint` must be one of"));
  EXPECT_EQ(fixture.CountFiles(), 0);
}

TEST(BatchClientTest, AWaitEndsWhenItsCallerOrItsDeadlineSaysSo) {
  BatchGrpcFixture fixture;
  const auto client = Connected(fixture);
  const Batch made = client->Submit({.text = Line()}, OfCompletions()).value();
  const auto wait = [&](absl::Duration deadline, bool go_on) {
    return client->Wait(made.id, {.deadline = deadline,
                                  .first_interval = absl::Milliseconds(5),
                                  .on_progress = [go_on](const Batch&) { return go_on; }});
  };
  EXPECT_TRUE(absl::IsCancelled(wait(absl::InfiniteDuration(), false).status()));
  const absl::Status late = wait(absl::Seconds(1), true).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(late)) << late;
  EXPECT_THAT(late.message(), HasSubstr("not ended within 1s: 0 of 0 lines answered"));
  EXPECT_TRUE(absl::IsNotFound(client->Wait("batch_none").status()));
}

TEST(BatchClientTest, ADownloadThatNobodyWantsIsCancelled) {
  BatchGrpcFixture fixture;
  const auto client = Connected(fixture);
  const std::string id = client->UploadFile({.text = std::string(6 << 20, 'x')})->id;
  std::unique_ptr<Download> download = client->StartDownload(id);
  EXPECT_TRUE(absl::IsFailedPrecondition(download->status()));
  std::promise<std::optional<std::string>> first;
  download->Next([&](std::optional<std::string> piece) { first.set_value(std::move(piece)); });
  EXPECT_FALSE(first.get_future().get()->empty());
  download.reset();
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.grpc.server->calls_in_progress() == 0; }));
}

TEST(BatchClientTest, TheKeyGoesWithEveryCall) {
  GrpcFixture::Options options;
  options.keys = "sk-a one\nsk-b two\n";
  BatchGrpcFixture fixture({}, options);
  const auto one = Connected(fixture, {.api_key = "sk-a"}), two = Connected(fixture, {.api_key = "sk-b"});
  const absl::StatusOr<Batch> made = one->Submit({.text = Line()}, OfCompletions());
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(Content(*one, made->input_file), Line());
  EXPECT_TRUE(absl::IsNotFound(two->Get(made->id).status()));
  EXPECT_TRUE(absl::IsUnauthenticated(Connected(fixture)->Get(made->id).status()));
}

TEST(BatchClientTest, OptionsThatCannotBeAreNamed) {
  EXPECT_TRUE(absl::IsInvalidArgument(BatchClient::Connect({.targets = {}}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(BatchClient::Connect({.tls_key = "x"}).status()));
}

// A coroutine that begins at once and belongs to nobody.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

Detached RunBatch(BatchClient& client, BatchGrpcFixture& fixture, std::promise<std::string>& told) {
  // With names: g++ 12 destroys such temporaries of a co_await twice.
  const Upload upload = {.text = Line()};
  const NewBatch wanted = OfCompletions();
  const absl::StatusOr<Batch> made = co_await Submit(client, upload, wanted);
  if (!made.ok()) co_return told.set_value(made.status().ToString());
  EndBatch(fixture, *made, 2);
  const WaitOptions patience;
  const absl::StatusOr<Batch> batch = co_await Wait(client, made->id, patience);
  const ListOptions all;
  const absl::StatusOr<Page<Batch>> list = co_await List(client, all);
  const std::unique_ptr<Download> download = client.StartDownload(batch->output_file);
  std::string content;
  while (true) {
    const std::optional<std::string> piece = co_await Next(*download);
    if (!piece.has_value()) break;
    content += *piece;
  }
  const absl::Status deleted = co_await DeleteFile(client, batch->error_file);
  told.set_value(absl::StrCat(content, list->items.size(), " ", deleted.ok()));
}

TEST(BatchClientTest, ACoroutineDoesTheSame) {
  BatchGrpcFixture fixture;
  const auto client = Connected(fixture);
  std::promise<std::string> told;
  RunBatch(*client, fixture, told);
  EXPECT_EQ(told.get_future().get(), "{\"n\":1}\n1 1");
}

}  // namespace
}  // namespace hadal::client
