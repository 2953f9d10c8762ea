// SPDX-License-Identifier: Apache-2.0
#include "server/admission/return_ticket.h"

#include <set>

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1000);

TEST(ReturnTicketTest, OpensWhatItHasIssuedUntilItExpires) {
  const ReturnTickets tickets;
  const std::string ticket = tickets.Issue(0x123456789abcdef0, kNow + absl::Seconds(5));
  EXPECT_EQ(ticket.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
            std::string::npos);
  EXPECT_EQ(tickets.Open(ticket, kNow).state, TicketState::kAccepted);
  EXPECT_EQ(tickets.Open(ticket, kNow).promise, 0x123456789abcdef0);
  EXPECT_EQ(tickets.Open(ticket, kNow + absl::Seconds(5)).state, TicketState::kAccepted);
  EXPECT_EQ(tickets.Open(ticket, kNow + absl::Seconds(5.001)).state, TicketState::kExpired);
}

TEST(ReturnTicketTest, WhatWasChangedOrMadeUpIsForged) {
  const ReturnTickets tickets;
  const std::string ticket = tickets.Issue(7, kNow + absl::Seconds(5));
  for (size_t i = 0; i < ticket.size(); ++i) {
    std::string changed = ticket;
    changed[i] = changed[i] == 'A' ? 'Q' : 'A';
    EXPECT_EQ(tickets.Open(changed, kNow).state, TicketState::kForged) << i;
  }
  for (const std::string& other : {std::string(), std::string("x"), ticket + "A", ticket.substr(1),
                                   std::string(43, '!'), std::string(43, 'A'), std::string(100000, 'A')}) {
    EXPECT_EQ(tickets.Open(other, kNow).state, TicketState::kForged) << other.size();
  }
}

TEST(ReturnTicketTest, AnotherProcessHasAnotherKey) {
  const ReturnTickets mine, other;
  EXPECT_EQ(mine.Open(other.Issue(7, kNow + absl::Seconds(5)), kNow).state, TicketState::kForged);
}

}  // namespace
}  // namespace hadal::admission
