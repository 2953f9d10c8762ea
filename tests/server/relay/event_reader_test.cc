// SPDX-License-Identifier: Apache-2.0
#include "server/relay/event_reader.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/request/refusal.h"

namespace hadal::relay {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Read(const std::vector<std::string>& pieces) {
  EventReader reader;
  std::vector<std::string> events;
  for (const std::string& piece : pieces) {
    EXPECT_TRUE(reader
                    .Feed(piece,
                          [&](std::string_view data) {
                            events.emplace_back(data);
                            return absl::OkStatus();
                          })
                    .ok());
  }
  return events;
}

TEST(EventReaderTest, EventsDoNotDependOnHowTheirBytesArrive) {
  const std::string text =
      ": comment\r\ndata: one\r\n\r\nevent: x\nid: 7\ndata:two\ndata: more\n\n\n\ndata: cr\r\rdata:\n\n";
  const std::vector<std::string> whole = Read({text});
  EXPECT_THAT(whole, ElementsAre("one", "two\nmore", "cr", ""));
  for (size_t cut = 1; cut < text.size(); ++cut) {
    EXPECT_EQ(Read({text.substr(0, cut), text.substr(cut)}), whole) << cut;
  }
  std::vector<std::string> bytes;
  for (const char c : text) bytes.emplace_back(1, c);
  EXPECT_EQ(Read(bytes), whole);
}

TEST(EventReaderTest, AnEventWithoutItsEndIsNone) { EXPECT_THAT(Read({"data: half\n", "data: "}), IsEmpty()); }

TEST(EventReaderTest, AnEventAboveTheLimitIsRefusedWhereverItsBytesAre) {
  for (const std::string& line : {std::string("data: "), std::string("other: ")}) {
    EventReader reader;
    const std::string piece(1000, 'x');
    absl::Status status = reader.Feed(line, [](std::string_view) { return absl::OkStatus(); });
    for (size_t i = 0; status.ok() && i <= EventReader::kMaxEventBytes / piece.size() + 1; ++i) {
      status = reader.Feed(piece, [](std::string_view) { return absl::OkStatus(); });
    }
    EXPECT_EQ(request::GetErrorDetail(status).reason, request::Reason::kUpstreamFailed);
  }
}

TEST(EventReaderTest, AnErrorOfTheTakerEndsTheReading) {
  EventReader reader;
  int events = 0;
  const absl::Status status = reader.Feed("data: 1\n\ndata: 2\n\n", [&](std::string_view) {
    ++events;
    return absl::InternalError("no more");
  });
  EXPECT_EQ(status.message(), "no more");
  EXPECT_EQ(events, 1);
}

}  // namespace
}  // namespace hadal::relay
