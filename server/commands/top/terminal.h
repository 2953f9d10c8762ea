// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <termios.h>

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/commands/signal_events.h"
#include "server/commands/top/view.h"

namespace hadal::top {

// The process's terminal as a screen of its own: keys come without Enter and are not shown, the cursor is hidden, and
// what was there before comes back at the end, however that comes (but SIGKILL). Signals are read here: create it
// before other threads, which inherit that they are blocked. One for a process; for one thread.
class Terminal {
 public:
  enum class Event {
    kTimeout,
    kRedraw,  // the window has another size, the process was stopped and goes on, or Notify
    kQuit,    // q, Ctrl-C, Ctrl-D, SIGTERM, SIGHUP, or the terminal is gone
  };

  // FailedPrecondition when standard input or output is no terminal, or one that can only print.
  static absl::StatusOr<std::unique_ptr<Terminal>> Open();
  ~Terminal() { Close(); }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  ViewSize size() const;
  // Never waits for long: a terminal that is held (Ctrl-S) misses the picture.
  void Draw(const std::vector<Line>& lines);
  Event Wait(absl::Duration timeout);
  // Gives the terminal back as it was. Nothing may follow but Notify.
  void Close();
  // Ends a Wait, the current one or the next. Any thread.
  void Notify() { events_->Notify(); }

 private:
  Terminal(std::unique_ptr<commands::SignalEvents> events, const termios& before);

  void Enter();
  void Leave();
  // Ctrl-Z: gives the terminal back, stops, and takes it again.
  void Suspend();
  static void Write(std::string_view text, absl::Duration patience);

  const std::unique_ptr<commands::SignalEvents> events_;
  const termios before_;
  bool closed_ = false;
};

}  // namespace hadal::top
