// SPDX-License-Identifier: Apache-2.0
// GET /: a plain page that says what runs here and how to call it. Loads nothing from elsewhere.
#include "base/bytes.hpp"
#include "server/routes.hpp"

namespace skvis {
namespace {

constexpr std::string_view kHead = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Skvis</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0;
         border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
th { font-weight: 600; white-space: nowrap; width: 12rem; }
pre { padding: .8rem; overflow-x: auto; border-radius: .4rem;
      background: color-mix(in srgb, currentColor 8%, transparent); }
</style>
</head>
<body>
)";

std::string escape(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string row(std::string_view name, std::string_view value) {
  return fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", escape(name), escape(value));
}

std::string bytes(size_t count) {
  return format_bytes(static_cast<double>(count));
}

std::string figures_table(const ServerContext& context, const ServiceFigures& figures) {
  const Engine& engine = context.engine;
  const PoolFigures& kv = figures.kv;
  return "<table>\n" + row("Model", context.model_id) +
         row("Weights", bytes(engine.model().model.weight_bytes())) +
         row("Compute", engine.model().model.description()) + row("KV plan", engine.plan().name) +
         row("KV memory",
             fmt::format("{}: {} used, {} wasted, {} reserved, {} free", bytes(figures.kv_budget),
                         bytes(kv.used), bytes(kv.wasted), bytes(kv.reserved), bytes(kv.free))) +
         row("Context", fmt::format("{} tokens", engine.context())) +
         row("Requests", fmt::format("{} running, {} waiting, {} finished", figures.running,
                                     figures.waiting, figures.finished)) +
         row("Version", SKVIS_VERSION) + "</table>\n";
}

// The page's own address is put in by the script, so that the examples can be copied as they are.
constexpr std::string_view kAddress = R"(<script>
for (const place of document.querySelectorAll(".address")) place.textContent = location.origin;
</script>
)";

std::string examples(const std::string& model_id) {
  const std::string json_id = dump_json(Json(model_id));
  const std::string address = R"(<span class="address">http://127.0.0.1:8080</span>)";
  std::string curl_id;  // within the shell's single quotes
  for (const char c : json_id) curl_id += c == '\'' ? "'\\''" : std::string(1, c);
  return "<h2>With curl</h2>\n<pre>curl " + address +
         "/v1/chat/completions -H 'Content-Type: application/json' \\\n  -d '" +
         escape(fmt::format(R"({{"model": {}, "stream": true,
       "messages": [{{"role": "user", "content": "What is the capital of France?"}}]}})",
                            curl_id)) +
         "'</pre>\n<h2>With the openai package</h2>\n<pre>" +
         "from openai import OpenAI\nclient = OpenAI(base_url=&quot;" + address +
         "/v1&quot;, api_key=&quot;none&quot;)\n" +
         escape(fmt::format("answer = client.chat.completions.create(\n    model={},\n    "
                            "messages=[{{\"role\": \"user\", \"content\": \"What is the capital of "
                            "France?\"}}])\nprint(answer.choices[0].message.content)",
                            json_id)) +
         "</pre>\n";
}

constexpr std::string_view kRoutes = R"(<h2>Routes</h2>
<table>
<tr><th>POST</th><td>/v1/chat/completions, /v1/completions, /tokenize, /detokenize,
/apply-template</td></tr>
<tr><th>GET</th><td><a href="/v1/models">/v1/models</a>, <a href="/metrics">/metrics</a>,
<a href="/health">/health</a>, <a href="/version">/version</a>,
<a href="/openapi.json">/openapi.json</a></td></tr>
</table>
)";

}  // namespace

HttpResponse index_page(const ServerContext& context, const ServiceFigures& figures) {
  std::string page(kHead);
  page += "<h1>Skvis</h1>\n<p>" + escape(context.model_id) + " is served here.</p>\n";
  page += figures_table(context, figures) + examples(context.model_id);
  page += kRoutes;
  page += kAddress;
  page += "</body>\n</html>\n";
  return {.content_type = "text/html; charset=utf-8",
          .body = std::move(page),
          .headers = {{"Content-Security-Policy",
                       "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"},
                      {"X-Content-Type-Options", "nosniff"}}};
}

}  // namespace skvis
