// SPDX-License-Identifier: Apache-2.0
// From the engine's thread to a connection's coroutine.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "base/result.hpp"
#include "engine/generation.hpp"

namespace skvis {

// The engine has taken the request up.
struct GenerationBegun {};
using GenerationEvent = std::variant<GenerationBegun, std::string, GenerationResult, Error>;

// Of which of a request's generations.
struct ChoiceEvent {
  size_t choice = 0;
  GenerationEvent event;
};

// post() from any thread, the rest from the thread of the io_context, next() by one caller at a
// time.
class Mailbox : public std::enable_shared_from_this<Mailbox> {
 public:
  explicit Mailbox(boost::asio::io_context& io) : io_(io), arrival_(io) {}

  void post(size_t choice, GenerationEvent event) {
    boost::asio::post(io_, [self = shared_from_this(), choice, event = std::move(event)]() mutable {
      if (const auto* text = std::get_if<std::string>(&event)) self->bytes_ += text->size();
      self->events_.push_back({choice, std::move(event)});
      self->arrival_.cancel();
      if (self->bytes_ > self->limit_ && self->on_overflow_) self->on_overflow_();
    });
  }

  // `then` is called when more than `bytes` of text wait to be taken. None: no limit.
  void limit(size_t bytes, std::function<void()> then) {
    limit_ = bytes;
    on_overflow_ = std::move(then);
  }

  // The next event, texts of one choice that follow each other joined; nothing when none comes
  // within `patience`.
  boost::asio::awaitable<std::optional<ChoiceEvent>> next(std::chrono::milliseconds patience) {
    if (events_.empty()) {
      arrival_.expires_after(patience);
      co_await arrival_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
    }
    if (events_.empty()) co_return std::nullopt;
    ChoiceEvent next = std::move(events_.front());
    events_.pop_front();
    if (auto* text = std::get_if<std::string>(&next.event)) {
      while (!events_.empty() && events_.front().choice == next.choice &&
             std::holds_alternative<std::string>(events_.front().event)) {
        *text += std::get<std::string>(events_.front().event);
        events_.pop_front();
      }
      bytes_ -= text->size();
    }
    co_return next;
  }

 private:
  boost::asio::io_context& io_;
  boost::asio::steady_timer arrival_;
  std::deque<ChoiceEvent> events_;
  size_t bytes_ = 0;  // of the texts among them
  size_t limit_ = 0;
  std::function<void()> on_overflow_;
};

}  // namespace skvis
