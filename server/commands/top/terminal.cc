// SPDX-License-Identifier: Apache-2.0
#include "server/commands/top/terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <string>
#include <utility>

#include "server/base/fd_writer.h"

namespace hadal::top {
namespace {

// xterm's control sequences, which every terminal in use knows.
constexpr std::string_view kEnter = "\033[?1049h\033[?25l";  // the other screen, no cursor
constexpr std::string_view kLeave = "\033[?25h\033[?1049l";
constexpr std::string_view kHome = "\033[H";
constexpr std::string_view kEndOfLine = "\033[0m\033[K";
constexpr std::string_view kEraseBelow = "\033[J";

constexpr absl::Duration kPicturePatience = absl::Milliseconds(200);
constexpr absl::Duration kLeavePatience = absl::Seconds(1);
constexpr char kCtrlD = 4;

std::string_view StyleOf(Line::Style style) {
  switch (style) {
    case Line::Style::kHeading:
      return "\033[7m";
    case Line::Style::kStrong:
      return "\033[1m";
    case Line::Style::kAlarm:
      return "\033[1;31m";
    default:
      return "";
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Terminal>> Terminal::Open() {
  termios before = {};
  if (::tcgetattr(STDIN_FILENO, &before) != 0 || ::isatty(STDOUT_FILENO) == 0) {
    return absl::FailedPreconditionError("standard input and output must be a terminal; --once prints one picture");
  }
  const char* const name = std::getenv("TERM");
  if (name == nullptr || std::string_view(name) == "dumb") {
    return absl::FailedPreconditionError("this terminal (TERM) can only print; --once prints one picture");
  }
  absl::StatusOr<std::unique_ptr<commands::SignalEvents>> events =
      commands::SignalEvents::Create({SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP});
  if (!events.ok()) return events.status();
  return std::unique_ptr<Terminal>(new Terminal(*std::move(events), before));
}

Terminal::Terminal(std::unique_ptr<commands::SignalEvents> events, const termios& before)
    : events_(std::move(events)), before_(before) {
  Enter();
}

void Terminal::Close() {
  if (!std::exchange(closed_, true)) Leave();
}

void Terminal::Enter() {
  termios keys = before_;
  keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  keys.c_cc[VMIN] = 1;
  keys.c_cc[VTIME] = 0;
  ::tcsetattr(STDIN_FILENO, TCSANOW, &keys);
  Write(kEnter, kLeavePatience);
}

void Terminal::Leave() {
  Write(kLeave, kLeavePatience);
  // What was typed meanwhile was meant for us.
  ::tcflush(STDIN_FILENO, TCIFLUSH);
  ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
}

void Terminal::Suspend() {
  Leave();
  ::raise(SIGSTOP);
  Enter();
}

void Terminal::Write(std::string_view text, absl::Duration patience) { base::WriteFor(STDOUT_FILENO, &text, patience); }

ViewSize Terminal::size() const {
  winsize window = {};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col == 0 || window.ws_row == 0) return {};
  return {window.ws_col, window.ws_row};
}

void Terminal::Draw(const std::vector<Line>& lines) {
  std::string picture(kHome);
  for (size_t i = 0; i < lines.size(); ++i) {
    // No line end behind the last line: it would scroll.
    if (i > 0) picture += "\r\n";
    picture.append(StyleOf(lines[i].style)).append(lines[i].text).append(kEndOfLine);
  }
  picture += kEraseBelow;
  Write(picture, kPicturePatience);
}

Terminal::Event Terminal::Wait(absl::Duration timeout) {
  std::array<pollfd, 3> fds = {pollfd{STDIN_FILENO, POLLIN, 0}, pollfd{events_->signal_fd(), POLLIN, 0},
                               pollfd{events_->notice_fd(), POLLIN, 0}};
  const int64_t ms = std::clamp<int64_t>(absl::ToInt64Milliseconds(timeout), 0, 1 << 30);
  if (::poll(fds.data(), fds.size(), static_cast<int>(ms)) <= 0) return Event::kTimeout;
  bool redraw = false;
  while (const int signal = events_->TakeSignal()) {
    if (signal == SIGTSTP) Suspend();
    if (signal != SIGTSTP && signal != SIGWINCH) return Event::kQuit;
    redraw = true;
  }
  if (events_->TakeNotice()) redraw = true;
  if (fds[0].revents != 0) {
    char keys[64];
    const ssize_t count = ::read(STDIN_FILENO, keys, sizeof(keys));
    if (count <= 0) return Event::kQuit;
    if (std::any_of(keys, keys + count, [](char key) { return key == 'q' || key == 'Q' || key == kCtrlD; })) {
      return Event::kQuit;
    }
  }
  return redraw ? Event::kRedraw : Event::kTimeout;
}

}  // namespace hadal::top
