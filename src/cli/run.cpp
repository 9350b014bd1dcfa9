// SPDX-License-Identifier: Apache-2.0
// `skvis run`: an answer or a conversation on the terminal.
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <iostream>
#include <iterator>

#include "base/bytes.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "cli/command.hpp"
#include "engine/generation.hpp"

namespace skvis {
namespace {

struct RunOptions {
  ModelOptions model;
  std::string prompt;
  std::string file;
  std::string system;
  std::string overflow = "stop";
  uint32_t max_tokens = 1024;
  bool raw = false;
  bool interactive = false;
  SamplingRequest sampling;
};

std::atomic<bool> interrupted{false};

// What `run` uses where neither the command line nor the model says.
constexpr SamplingOptions kSamplingDefaults{.temperature = 0.8, .top_p = 0.95};

Result<std::string> read_prompt(const RunOptions& options) {
  if (!options.file.empty()) {
    SKVIS_TRY(std::string text, read_file(options.file, size_t{64} << 20));
    // -p beside -f is the question about the text.
    return options.prompt.empty() ? text : text + "\n\n" + options.prompt;
  }
  if (!options.prompt.empty()) return options.prompt;
  if (::isatty(STDIN_FILENO) != 0) {
    return fail(
        "there is no prompt; give -p TEXT, -f FILE or standard input, or -i for a conversation");
  }
  return std::string(std::istreambuf_iterator<char>(std::cin), {});
}

void print_figures(const Engine& engine, const GenerationResult& result) {
  const size_t read = result.prompt_tokens - result.reused_tokens;
  const auto rate = [](size_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  fmt::print(
      stderr,
      "[prompt {} tokens{}, {:.0f} tokens/s; answer {} tokens, {:.1f} tokens/s; KV under '{}': "
      "{} held in {} of pages, full cache {}]\n",
      result.prompt_tokens,
      result.reused_tokens > 0 ? fmt::format(" ({} reused)", result.reused_tokens) : "",
      rate(read, result.prompt_seconds), result.tokens.size(),
      rate(result.tokens.size(), result.decode_seconds), engine.plan().name,
      format_bytes(static_cast<double>(result.kv_bytes.rows)),
      format_bytes(static_cast<double>(result.kv_bytes.pages)),
      format_bytes(static_cast<double>(result.kv_bytes_full)));
}

class Conversation {
 public:
  Conversation(Engine& engine, const RunOptions& options)
      : engine_(engine),
        options_(options),
        sampling_(resolve_sampling(options.sampling, engine.model().files->generation_defaults(),
                                   kSamplingDefaults)),
        session_(engine),
        messages_(Json::array()) {
    if (!options.system.empty()) add("system", options.system);
  }

  // One turn: answers `text` on standard output.
  Result<void> answer(const std::string& text) {
    add("user", text);
    SKVIS_TRY(GenerationRequest request, fitting_request());
    SKVIS_TRY(const GenerationResult result, generate(request));
    add("assistant", result.text);
    return {};
  }

  Result<void> complete(const std::string& text) {
    GenerationRequest request{.max_tokens = options_.max_tokens, .sampling = sampling_};
    SKVIS_TRY(request.prompt, engine_.model().tokenizer->encode(text, {.add_special = true}));
    SKVIS_TRY([[maybe_unused]] const GenerationResult result, generate(request));
    return {};
  }

  void keep_whole_context() { session_.reserve_tokens(engine_.most_tokens()); }
  bool full() const { return full_; }

 private:
  void add(std::string_view role, const std::string& content) {
    messages_.push_back({{"role", role}, {"content", content}});
  }

  Result<std::vector<uint32_t>> render() const {
    const LoadedModel& model = engine_.model();
    SKVIS_TRY(const std::string text, model.chat_template->render(messages_, nullptr, true));
    return model.tokenizer->encode(text);
  }

  // The conversation as tokens. When it no longer fits the context, says so and either ends or lets
  // the oldest turns go.
  Result<GenerationRequest> fitting_request() {
    GenerationRequest request{.max_tokens = options_.max_tokens, .sampling = sampling_};
    for (;;) {
      SKVIS_TRY(request.prompt, render());
      // An answer needs some room: a sixteenth of the context, less if less was asked for.
      const uint32_t room = std::min(options_.max_tokens, std::max(16u, engine_.context() / 16));
      if (request.prompt.size() + room <= engine_.context()) return request;
      const size_t first = messages_[0]["role"] == "system" ? 1 : 0;
      if (options_.overflow == "stop" || messages_.size() < first + 3) {
        full_ = true;
        return fail("the context of {} tokens is full: this conversation has {}", engine_.context(),
                    request.prompt.size());
      }
      fmt::print(stderr, "[the context of {} tokens is full: forgetting the oldest turn]\n",
                 engine_.context());
      messages_.erase(messages_.begin() + static_cast<ptrdiff_t>(first),
                      messages_.begin() + static_cast<ptrdiff_t>(first) + 2);
    }
  }

  Result<GenerationResult> generate(const GenerationRequest& request) {
    interrupted = false;
    ProgressBar bar("reading the prompt");
    GenerationCallbacks callbacks;
    callbacks.on_prompt = [&](size_t done, size_t total) { bar.update(done, total); };
    callbacks.on_text = [&](std::string_view text) {
      if (!began_) fmt::print(stderr, "{}", ::isatty(STDERR_FILENO) != 0 ? "\r\033[K" : "");
      began_ = true;
      fmt::print("{}", text);
      std::fflush(stdout);
    };
    callbacks.go_on = [] { return !interrupted.load(); };
    began_ = false;
    auto result = session_.generate(request, callbacks);
    if (!result) return result;
    fmt::print("\n");
    std::fflush(stdout);
    print_figures(engine_, *result);
    return result;
  }

  Engine& engine_;
  const RunOptions& options_;
  SamplingOptions sampling_;
  Session session_;
  Json messages_;
  bool began_ = false;
  bool full_ = false;
};

Result<void> converse(Conversation& conversation, const RunOptions& options) {
  conversation.keep_whole_context();
  const bool terminal = ::isatty(STDIN_FILENO) != 0;
  if (terminal) {
    fmt::print(stderr,
               "A conversation: one line is one message; Ctrl-C stops an answer, Ctrl-D ends.\n");
  }
  std::string line = options.prompt;
  for (;;) {
    if (line.empty()) {
      if (terminal) fmt::print(stderr, "> ");
      if (!std::getline(std::cin, line)) return {};
    }
    if (!line.empty()) {
      if (auto answered = conversation.answer(line); !answered) {
        if (conversation.full() || !terminal) return answered;
        fmt::print(stderr, "skvis: {}\n", answered.error().message);
      }
    }
    line.clear();
  }
}

Result<void> run(const RunOptions& options) {
  std::string prompt;
  if (!options.interactive) {
    SKVIS_TRY(prompt, read_prompt(options));
  }
  ModelOptions model = options.model;
  if (model.log_level == "info") model.log_level = "warn";  // the answer is what counts here
  SKVIS_TRY(const auto engine, start_engine(model));
  const LoadedModel& loaded = engine->model();
  if (!loaded.tokenizer) return fail("{}: {}", loaded.name, loaded.tokenizer_problem);
  std::signal(SIGINT, [](int) { interrupted = true; });
  Conversation conversation(*engine, options);
  if (options.raw) return conversation.complete(prompt);
  if (!loaded.chat_template) {
    return fail("{}: {}; use --raw for plain text", loaded.name, loaded.tokenizer_problem);
  }
  if (loaded.chat_template->is_default()) {
    fmt::print(stderr, "[{} has no chat template: ChatML is used; --raw for plain text]\n",
               loaded.name);
  }
  return options.interactive ? converse(conversation, options) : conversation.answer(prompt);
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "Answer a prompt, or hold a conversation");
  options->model.add_to(*command);
  command->add_option("-p,--prompt", options->prompt, "The prompt");
  command->add_option("-f,--file", options->file, "Read the prompt from a file");
  command->add_option("--system", options->system, "System message");
  command->add_option("-n,--max-tokens", options->max_tokens, "Most tokens of an answer")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 24));
  auto* interactive = command->add_flag("-i,--interactive", options->interactive, "A conversation");
  command->add_flag("--raw", options->raw, "Continue the text as it is, without chat template")
      ->excludes(interactive);
  command
      ->add_option(
          "--ctx-overflow", options->overflow,
          "When a conversation is longer than the context: stop, or forget the oldest turns")
      ->capture_default_str()
      ->check(CLI::IsMember({"stop", "forget"}));
  SamplingRequest& sampling = options->sampling;
  command->add_option("--temperature", sampling.temperature, "0: always the best token")
      ->check(CLI::Range(0.0, 100.0));
  command->add_option("--top-k", sampling.top_k, "Only the best K tokens; 0: all");
  command->add_option("--top-p", sampling.top_p, "Only the best tokens that reach this probability")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--min-p", sampling.min_p, "No tokens below this share of the best one")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--seed", sampling.seed, "Same seed, same answer");
  command->footer(
      "Examples:\n"
      "  skvis run -p \"What is the capital of France?\" --temperature 0\n"
      "  skvis run -f article.txt -p \"Summarise this.\" --kv snapkv:0.5\n"
      "  skvis run -i --kv int4 --system \"You are terse.\"");
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace skvis
