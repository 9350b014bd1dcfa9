// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/template.hpp"

#include <exception>

#include "text/jinja/evaluator.hpp"
#include "text/jinja/parser.hpp"

namespace skvis::jinja {

struct Template::Tree {
  std::string origin;
  Body body;
};

Result<Template> Template::parse(std::string_view source, std::string_view origin) {
  try {
    auto body = jinja::parse(source);
    if (!body) return fail("{}: {}", origin, body.error().message);
    return Template(std::make_shared<const Tree>(Tree{std::string(origin), std::move(*body)}));
  } catch (const std::exception& problem) {
    return fail("{}: could not be read: {}", origin, problem.what());
  }
}

Result<std::string> Template::render(const Json& variables, const Limits& limits,
                                     std::time_t now) const {
  // One GiB of text: far above any request, and sizes stay within what the text library counts.
  constexpr uint64_t kMaxInput = uint64_t{1} << 27;
  constexpr uint64_t kCopiesOfInput = 32;
  const std::string& origin = tree_->origin;
  try {
    auto values = Value::from_json(variables);
    if (!values) return fail("{}: {}", origin, values.error().message);
    if (values->dict() == nullptr) {
      return fail("{}: the variables must be an object, found {}", origin, json_type(variables));
    }
    const uint64_t weight = extent_of(*values).weight;
    if (weight > kMaxInput) return fail("{}: the variables are too large", origin);
    Limits widened = limits;
    widened.max_steps += kCopiesOfInput * weight;
    widened.max_output += kCopiesOfInput * weight;
    Runtime runtime(widened, now);
    Evaluator evaluator(runtime, *values->dict());
    auto text = evaluator.render(tree_->body);
    if (!text && !evaluator.raised()) return fail("{}: {}", origin, text.error().message);
    return text;
  } catch (const std::exception& problem) {
    return fail("{}: could not be rendered: {}", origin, problem.what());
  }
}

}  // namespace skvis::jinja
