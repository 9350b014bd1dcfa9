// SPDX-License-Identifier: Apache-2.0
// `skvis serve`: an OpenAI-compatible server.
#include "base/bytes.hpp"
#include "base/file.hpp"
#include "base/log.hpp"
#include "cli/command.hpp"
#include "http/http_server.hpp"
#include "kernels/table.hpp"
#include "server/api_keys.hpp"

namespace skvis {
namespace {

struct ServeOptions {
  ModelOptions model;
  ServerOptions server;
  std::string key_file;
  std::vector<std::string> cors_origins;
  int64_t ping_seconds = 15;
};

std::string bytes(size_t count) {
  return format_bytes(static_cast<double>(count));
}

// What a user wants to know before the first request: where the memory goes and what fits.
void print_start(const Engine& engine) {
  const LoadedModel& model = engine.model();
  const CacheLayout& layout = engine.layout();
  const size_t budget = engine.pool().budget();
  const uint32_t most = engine.most_tokens();
  spdlog::info("model {}: weights take {}; context {} tokens", model.name,
               bytes(model.model.weight_bytes()), engine.context());
  spdlog::info("{}; cache kernels {}", model.model.description(),
               kernels::level_name(kernels::active_kernels().level));
  size_t token_bytes = 0;
  for (const uint32_t row : engine.plan().row_bytes) token_bytes += row;
  const size_t full_bytes = layout.full_cache_bytes(1);
  spdlog::info(
      "KV memory {} under plan '{}': {} bytes per kept token of all layers, {} in the "
      "full cache",
      bytes(budget), engine.plan().name, token_bytes, full_bytes);
  if (most == 0) {
    spdlog::warn("the KV memory of {} cannot hold a single token; start with more --kv-memory",
                 bytes(budget));
    return;
  }
  const size_t worst = layout.worst_case_bytes(most, most);
  spdlog::info(
      "about {} tokens fit, {} in the full cache; one conversation may have {} and takes {} at "
      "worst",
      static_cast<size_t>(static_cast<double>(budget) / static_cast<double>(worst) * most),
      budget / full_bytes, most, bytes(worst));
  if (model.chat_template && model.chat_template->is_default()) {
    spdlog::warn("{} has no chat template: ChatML is used", model.name);
  }
}

Result<void> serve_model(const ServeOptions& options) {
  ServerOptions server = options.server;
  if (!options.key_file.empty()) {
    SKVIS_TRY(const std::string text, read_file(options.key_file, size_t{1} << 20));
    SKVIS_TRY(const auto keys, parse_api_keys(text, options.key_file));
    server.api_keys.insert(server.api_keys.end(), keys.begin(), keys.end());
  }
  if (!options.cors_origins.empty()) server.cors_origins = options.cors_origins;
  if (server.cors_origins == std::vector<std::string>{"none"}) server.cors_origins.clear();
  server.keep_alive = std::chrono::seconds(options.ping_seconds);
  SKVIS_CHECK(check_options(server));
  SKVIS_TRY(const auto engine, start_engine(options.model));
  if (!engine->model().tokenizer) {
    return fail("{}: {}", engine->model().name, engine->model().tokenizer_problem);
  }
  print_start(*engine);
  return serve(*engine, server);
}

void add_transport(CLI::App& command, ServeOptions& options) {
  ServerOptions& server = options.server;
  command.add_option("--unix", server.unix_path,
                     "A UNIX socket to listen on, for this user only, in place of host and port");
  command.add_option("--tls-cert", server.tls_certificate,
                     "Certificate chain (PEM): clients must speak TLS 1.2 or newer");
  command.add_option("--tls-key", server.tls_key, "Its private key (PEM, not encrypted)");
  command
      .add_option("--cors-origin", options.cors_origins,
                  "The origin of a web page that may read answers, '*' for all (default), 'none'; "
                  "may be given several times")
      ->allow_extra_args(false);
  command
      .add_option("--sse-ping-interval", options.ping_seconds,
                  "Seconds of silence in a stream before a comment is sent")
      ->capture_default_str()
      ->check(CLI::Range(1, 3600));
  command.add_option("--max-connections", server.max_connections, "Clients connected at once")
      ->capture_default_str()
      ->check(CLI::Range(size_t{1}, size_t{65536}));
}

}  // namespace

void add_serve(CLI::App& app, Action& action) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* command =
      app.add_subcommand("serve", "Serve a model over HTTP, as OpenAI's clients expect it");
  options->model.add_to(*command);
  ServerOptions& server = options->server;
  command->add_option("--host", server.host, "Address to listen on; 0.0.0.0 or :: for all")
      ->capture_default_str();
  command->add_option("--port", server.port, "Port; 0: a free one")->capture_default_str();
  add_transport(*command, *options);
  command->add_option("--alias", server.model_id, "The model's id (default: its name)");
  command
      ->add_option("--api-key", server.api_keys,
                   "A key that clients must send; may be given several times")
      ->allow_extra_args(false)
      ->check([](const std::string& key) {
        return parse_api_keys(key, "--api-key").ok() ? "" : "a key is one word of visible ASCII";
      });
  command->add_option("--api-key-file", options->key_file, "A file with one key per line");
  command
      ->add_option("--default-max-tokens", server.default_max_tokens,
                   "What a request without max_tokens may generate, and reserves")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 24));
  command
      ->add_option("--parallel", server.parallel,
                   "Requests answered at once, as far as the KV memory allows")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1024u));
  command->add_option("--queue", server.queue, "Requests that may wait; further ones get 429")
      ->capture_default_str()
      ->check(CLI::Range(size_t{1}, size_t{100000}));
  command->footer(
      "Examples:\n"
      "  skvis serve\n"
      "  skvis serve --model model.gguf --kv int4 --kv-memory 2GiB --port 9000\n"
      "  skvis serve --host 0.0.0.0 --api-key-file keys.txt --alias assistant\n"
      "  skvis serve --tls-cert chain.pem --tls-key key.pem --api-key-file keys.txt\n"
      "  skvis serve --unix /run/user/1000/skvis.sock");
  command->callback([options, &action] { action = [options] { return serve_model(*options); }; });
}

}  // namespace skvis
