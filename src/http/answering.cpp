// SPDX-License-Identifier: Apache-2.0
#include "http/answering.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>

#include "base/log.hpp"
#include "http/connection.hpp"
#include "http/mailbox.hpp"

namespace skvis {
namespace {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::hours kNoComments{1};  // then the coroutine looks up, and waits on

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// Cancels a generation unless it is known to have ended: also when the coroutine is unwound.
class TicketGuard {
 public:
  TicketGuard(Service& service, Service::Ticket ticket) : service_(service), ticket_(ticket) {}
  TicketGuard(const TicketGuard&) = delete;
  ~TicketGuard() {
    if (ticket_ != 0) service_.cancel(ticket_);
  }
  void ended() { ticket_ = 0; }

 private:
  Service& service_;
  Service::Ticket ticket_;
};

class Answering {
 public:
  Answering(Connection& connection, AnswerJob job, Clock::time_point arrived)
      : connection_(connection),
        shared_(connection.shared()),
        job_(std::move(job)),
        mailbox_(std::make_shared<Mailbox>(shared_.io)),
        arrived_(arrived) {
    mailbox_->limit(shared_.options.max_unsent, [this] {
      spdlog::info("a client does not take its answer; the connection is closed");
      connection_.close();
    });
  }
  Answering(const Answering&) = delete;
  ~Answering() { mailbox_->limit(0, nullptr); }

  asio::awaitable<bool> run();

 private:
  // One generation of the job.
  struct Choice {
    std::unique_ptr<TicketGuard> ticket;
    RequestTimes times;
    GenerationResult result;
    bool shown = false;  // has had its first chunk
  };

  bool submit();
  Service::Ticket submit(size_t index, Service::Ticket follows);
  asio::awaitable<bool> take(ChoiceEvent next);
  asio::awaitable<bool> show(size_t index, const std::string& text);
  asio::awaitable<bool> conclude(size_t index, GenerationResult result);
  asio::awaitable<bool> finish();
  asio::awaitable<void> refuse(const ApiError& error);
  asio::awaitable<bool> write_piece(std::string_view text);
  std::string first_chunk(size_t index);

  Connection& connection_;
  HttpShared& shared_;
  AnswerJob job_;
  std::shared_ptr<Mailbox> mailbox_;
  Clock::time_point arrived_;
  std::vector<Choice> choices_;
  size_t ended_ = 0;
  Usage usage_;
  bool head_written_ = false;
};

// All generations run together; those after the first pass the limit of the queue, since an
// accepted request is answered whole.
asio::awaitable<bool> Answering::run() {
  if (!submit()) {
    const ApiError error =
        shared_.closing ? overloaded(503, "the server is stopping")
                        : overloaded(429, fmt::format("{} requests wait already; try again later",
                                                      shared_.options.queue));
    co_await refuse(error);
    co_return false;
  }
  if (job_.stream) {
    head_written_ = true;
    const std::string head = stream_head("text/event-stream", connection_.framing());
    const bool written = co_await connection_.write(head);
    if (!written) co_return false;
  }
  const std::chrono::milliseconds silence = job_.keep_alive.value_or(shared_.options.keep_alive);
  const bool comments = job_.stream && silence.count() > 0;
  while (ended_ < choices_.size()) {
    std::optional<ChoiceEvent> next = co_await mailbox_->next(comments ? silence : kNoComments);
    bool more = true;
    if (next) {
      more = co_await take(std::move(*next));
    } else if (comments) {
      more = co_await write_piece(kSseKeepAlive);
    }
    if (!more) co_return false;
  }
  const bool written = co_await finish();
  co_return written;
}

// False: the request is not accepted.
bool Answering::submit() {
  choices_.resize(job_.generations.size());
  Service::Ticket first = 0;  // of the generations with this prompt
  for (size_t i = 0; i < choices_.size(); ++i) {
    const bool repeats = job_.generations[i].repeats_prompt;
    const Service::Ticket ticket = submit(i, repeats ? first : 0);
    if (ticket == 0) return false;
    choices_[i].ticket = std::make_unique<TicketGuard>(shared_.service, ticket);
    if (!repeats) first = ticket;
  }
  return true;
}

Service::Ticket Answering::submit(size_t index, Service::Ticket follows) {
  ServiceRequest request{.generation = std::move(job_.generations[index]),
                         .salt = job_.queue.salt,
                         .client = job_.client,
                         .priority = static_cast<int>(-job_.queue.priority),
                         .continues = index > 0,
                         .follows = follows};
  if (job_.queue.timeout) {
    request.deadline =
        arrived_ + std::chrono::microseconds(static_cast<int64_t>(*job_.queue.timeout * 1e6));
  }
  request.on_text = [mailbox = mailbox_, index, stream = job_.stream,
                     first = true](std::string_view text) mutable {
    // The answer in one piece needs only the moment of the first text.
    if (stream || first) mailbox->post(index, std::string(text));
    first = false;
  };
  request.on_prompt = [mailbox = mailbox_, index, first = true](size_t, size_t) mutable {
    if (first) mailbox->post(index, GenerationBegun{});
    first = false;
  };
  request.on_done = [mailbox = mailbox_, index](const GenerationResult& result) {
    mailbox->post(index, result);
  };
  request.on_error = [mailbox = mailbox_, index](const Error& error) {
    mailbox->post(index, error);
  };
  return shared_.service.submit(std::move(request));
}

// False: nothing more can or shall be written.
asio::awaitable<bool> Answering::take(ChoiceEvent next) {
  Choice& choice = choices_[next.choice];
  if (std::holds_alternative<GenerationBegun>(next.event)) {
    choice.times.queue = seconds_between(arrived_, Clock::now());
  } else if (const auto* text = std::get_if<std::string>(&next.event)) {
    if (choice.times.first_token == 0) {
      choice.times.first_token = seconds_between(arrived_, Clock::now());
    }
    if (!job_.stream) co_return true;
    const bool written = co_await show(next.choice, *text);
    co_return written;
  } else if (auto* result = std::get_if<GenerationResult>(&next.event)) {
    choice.ticket->ended();
    ++ended_;
    const bool concluded = co_await conclude(next.choice, std::move(*result));
    co_return concluded;
  } else {
    choice.ticket->ended();
    const std::string message = std::get<Error>(next.event).message;
    spdlog::error("generation failed: {}", message);
    co_await refuse(server_error(message));
    co_return false;
  }
  co_return true;
}

std::string Answering::first_chunk(size_t index) {
  if (std::exchange(choices_[index].shown, true)) return {};
  const Json chunk = job_.format->first(index);
  return chunk.is_null() ? std::string() : sse_event(chunk);
}

asio::awaitable<bool> Answering::show(size_t index, const std::string& text) {
  const std::string events = first_chunk(index) + sse_event(job_.format->piece(index, text));
  const bool written = co_await write_piece(events);
  co_return written;
}

asio::awaitable<bool> Answering::conclude(size_t index, GenerationResult result) {
  if (result.finish == FinishReason::cancelled) {
    co_await refuse(overloaded(503, "the server is stopping"));
    co_return false;
  }
  if (result.finish == FinishReason::deadline && result.tokens.empty()) {
    co_await refuse({.status = 408,
                     .message = "the request's time was over before its answer began; give it more "
                                "'timeout_s', or come back when fewer wait",
                     .type = "timeout_error",
                     .code = "deadline_exceeded"});
    co_return false;
  }
  usage_.heads = job_.kv_heads;
  usage_.add(result);
  RequestTimes& times = choices_[index].times;
  times.prefill = result.prompt_seconds;
  times.decode = result.decode_seconds;
  times.whole = seconds_between(arrived_, Clock::now());
  times.prompt_tokens = result.prompt_tokens;
  times.generated_tokens = result.tokens.size();
  shared_.metrics.record(times);
  spdlog::info("answered {} + {} tokens in {:.2f} s (queue {:.2f}, prompt {:.2f}, answer {:.2f})",
               result.prompt_tokens, result.tokens.size(), times.whole, times.queue,
               result.prompt_seconds, result.decode_seconds);
  if (!job_.stream) {
    choices_[index].result = std::move(result);
    co_return true;
  }
  const std::string events =
      first_chunk(index) + sse_event(job_.format->last(index, result.finish));
  const bool written = co_await write_piece(events);
  co_return written;
}

asio::awaitable<bool> Answering::finish() {
  std::string bytes;
  if (job_.stream) {
    std::string events;
    if (job_.include_usage) events = sse_event(job_.format->usage(usage_));
    events += kSseDone;
    bytes = body_piece(events, connection_.framing());
    bytes += last_piece(connection_.framing());
  } else {
    std::vector<GenerationResult> results;
    for (Choice& choice : choices_) results.push_back(std::move(choice.result));
    bytes =
        response_bytes(json_response(job_.format->whole(results, usage_)), connection_.framing());
  }
  const bool written = co_await connection_.write(bytes);
  co_return written;
}

// Within a stream the status is written already: the error is an event, and the stream ends. The
// connection ends too.
asio::awaitable<void> Answering::refuse(const ApiError& error) {
  std::string bytes;
  if (head_written_) {
    bytes = body_piece(sse_event(error_json(error)), connection_.framing());
    bytes += last_piece(connection_.framing());
  } else {
    Framing framing = connection_.framing();
    framing.keep_alive = false;
    bytes = response_bytes(error_response(error), framing);
  }
  co_await connection_.write(bytes);
}

asio::awaitable<bool> Answering::write_piece(std::string_view text) {
  const std::string bytes = body_piece(text, connection_.framing());
  const bool written = co_await connection_.write(bytes);
  co_return written;
}

}  // namespace

asio::awaitable<bool> answer_job(Connection& connection, AnswerJob job, Clock::time_point arrived) {
  using namespace asio::experimental::awaitable_operators;
  Answering answering(connection, std::move(job), arrived);
  const std::variant<bool, std::monostate> first = co_await (answering.run() || connection.watch());
  if (first.index() == 0) co_return std::get<0>(first);
  spdlog::info("a client went away; its generation is cancelled");
  co_return false;
}

}  // namespace skvis
