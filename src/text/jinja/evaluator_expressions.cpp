// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "text/jinja/evaluator.hpp"
#include "text/jinja/evaluator_scopes.hpp"

namespace skvis::jinja {
namespace {

// Gives an error of a leaf its line. Errors of inner expressions have theirs already.
template <typename T>
Result<T> located(const Expr& expr, Result<T> result) {
  if (result) return result;
  return fail("line {}: {}", expr.line, result.error().message);
}

}  // namespace

Result<Value> Evaluator::evaluate(const Expr& expr) {
  const Deeper deeper(*this);
  SKVIS_CHECK(located(expr, check_depth()));
  SKVIS_CHECK(located(expr, runtime_.charge(1)));
  switch (expr.kind) {
    case Expr::Kind::kLiteral:
      return expr.value;
    case Expr::Kind::kName:
      return evaluate_name(expr);
    case Expr::Kind::kCaptured:
      return captured_;
    case Expr::Kind::kList:
    case Expr::Kind::kTuple:
      return evaluate_sequence(expr);
    case Expr::Kind::kDict:
      return evaluate_dict(expr);
    case Expr::Kind::kSlice:
      return evaluate_slice(expr);
    case Expr::Kind::kNegate:
    case Expr::Kind::kPlus:
      return evaluate_sign(expr);
    case Expr::Kind::kConcat:
      return evaluate_concat(expr);
    case Expr::Kind::kCompare:
      return evaluate_compare(expr);
    case Expr::Kind::kConditional:
      return evaluate_conditional(expr);
    case Expr::Kind::kFilter:
    case Expr::Kind::kTest:
      return evaluate_filter_or_test(expr);
    case Expr::Kind::kCall:
      return evaluate_call(expr, nullptr);
    default:
      break;
  }
  SKVIS_TRY(Value first, evaluate(*expr.children[0]));
  if (expr.kind == Expr::Kind::kAttribute) {
    return located(expr, get_attribute(first, expr.name));
  }
  if (expr.kind == Expr::Kind::kNot) return Value(!first.truthy());
  if (expr.kind == Expr::Kind::kAnd && !first.truthy()) return first;
  if (expr.kind == Expr::Kind::kOr && first.truthy()) return first;
  SKVIS_TRY(Value second, evaluate(*expr.children[1]));
  if (expr.kind == Expr::Kind::kItem) return located(expr, get_item(runtime_, first, second));
  if (expr.kind == Expr::Kind::kArithmetic) {
    return located(expr, arithmetic(runtime_, expr.name, first, second));
  }
  return second;  // of `and`, `or`
}

Result<Value> Evaluator::evaluate_name(const Expr& expr) {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    const auto found = scope->names.find(expr.name);
    if (found != scope->names.end()) return found->second;
  }
  return Value::undefined(fmt::format("'{}' is undefined", expr.name));
}

Result<Value> Evaluator::evaluate_sequence(const Expr& expr) {
  std::vector<Value> items;
  items.reserve(expr.children.size());
  for (const ExprPtr& child : expr.children) {
    SKVIS_TRY(Value item, evaluate(*child));
    items.push_back(std::move(item));
  }
  const bool tuple = expr.kind == Expr::Kind::kTuple;
  return located(expr, tuple ? make_tuple(std::move(items)) : make_list(std::move(items)));
}

Result<Value> Evaluator::evaluate_dict(const Expr& expr) {
  DictBuilder dict;
  for (size_t i = 0; i < expr.children.size(); i += 2) {
    SKVIS_TRY(const Value key, evaluate(*expr.children[i]));
    SKVIS_TRY(Value value, evaluate(*expr.children[i + 1]));
    SKVIS_CHECK(located(expr, runtime_.charge_value(key)));
    SKVIS_CHECK(located(expr, dict.set(key, std::move(value))));
  }
  return located(expr, dict.finish());
}

Result<Value> Evaluator::evaluate_slice(const Expr& expr) {
  SKVIS_TRY(const Value object, evaluate(*expr.children[0]));
  Value bounds[3] = {None{}, None{}, None{}};
  for (size_t i = 0; i < 3; ++i) {
    if (expr.children[i + 1] == nullptr) continue;
    SKVIS_TRY(bounds[i], evaluate(*expr.children[i + 1]));
  }
  return located(expr, get_slice(runtime_, object, bounds[0], bounds[1], bounds[2]));
}

Result<Value> Evaluator::evaluate_sign(const Expr& expr) {
  SKVIS_TRY(const Value operand, evaluate(*expr.children[0]));
  const bool negative = expr.kind == Expr::Kind::kNegate;
  if (const auto* number = operand.floating()) return Value(negative ? -*number : *number);
  return located(expr, arithmetic(runtime_, negative ? "-" : "+", Value(int64_t{0}), operand));
}

Result<Value> Evaluator::evaluate_concat(const Expr& expr) {
  std::string text;
  for (const ExprPtr& child : expr.children) {
    SKVIS_TRY(const Value part, evaluate(*child));
    SKVIS_CHECK(located(expr, runtime_.charge_value(part)));
    text += to_text(part);
  }
  return Value(std::move(text));
}

Result<bool> Evaluator::holds(std::string_view operation, const Value& a, const Value& b) {
  if (operation == "in") return contains(runtime_, b, a);
  if (operation == "not in") {
    SKVIS_TRY(const bool inside, contains(runtime_, b, a));
    return !inside;
  }
  SKVIS_CHECK(runtime_.charge(std::min(extent_of(a).weight, extent_of(b).weight)));
  if (operation == "==") return equal(a, b);
  if (operation == "!=") return !equal(a, b);
  if (a.is_undefined()) return fail("{}", a.undefined_reason());
  if (b.is_undefined()) return fail("{}", b.undefined_reason());
  // Not-a-number is neither below nor above nor equal.
  if (a.as_number() && b.as_number() && !(*a.as_number() <= *b.as_number()) &&
      !(*a.as_number() >= *b.as_number())) {
    return false;
  }
  SKVIS_TRY(const int sign, compare(a, b));
  if (operation == "<") return sign < 0;
  if (operation == "<=") return sign <= 0;
  if (operation == ">") return sign > 0;
  return sign >= 0;
}

Result<Value> Evaluator::evaluate_compare(const Expr& expr) {
  SKVIS_TRY(Value left, evaluate(*expr.children[0]));
  for (size_t i = 0; i < expr.labels.size(); ++i) {
    SKVIS_TRY(Value right, evaluate(*expr.children[i + 1]));
    SKVIS_TRY(const bool result, located(expr, holds(expr.labels[i], left, right)));
    if (!result) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Result<Value> Evaluator::evaluate_conditional(const Expr& expr) {
  SKVIS_TRY(const Value condition, evaluate(*expr.children[1]));
  if (condition.truthy()) return evaluate(*expr.children[0]);
  if (expr.children[2] != nullptr) return evaluate(*expr.children[2]);
  return Value::undefined("the condition is false and there is no else");
}

Result<Arguments> Evaluator::evaluate_arguments(const Expr& expr) {
  Arguments arguments;
  const size_t first_named = expr.children.size() - expr.labels.size();
  for (size_t i = 1; i < expr.children.size(); ++i) {
    SKVIS_TRY(Value value, evaluate(*expr.children[i]));
    if (i < first_named) {
      arguments.positional.push_back(std::move(value));
    } else {
      arguments.named.emplace_back(expr.labels[i - first_named], std::move(value));
    }
  }
  return arguments;
}

Result<Value> Evaluator::evaluate_filter_or_test(const Expr& expr) {
  SKVIS_TRY(const Value input, evaluate(*expr.children[0]));
  SKVIS_TRY(const Arguments arguments, evaluate_arguments(expr));
  if (expr.kind == Expr::Kind::kFilter) {
    return located(expr, apply_filter(runtime_, expr.name, input, arguments));
  }
  SKVIS_TRY(const bool passes, located(expr, apply_test(runtime_, expr.name, input, arguments)));
  return Value(passes);
}

// `caller` is what the macro called by a call block may call in turn.
Result<Value> Evaluator::evaluate_call(const Expr& expr, const Value* caller) {
  SKVIS_TRY(const Value callee, evaluate(*expr.children[0]));
  SKVIS_TRY(Arguments arguments, evaluate_arguments(expr));
  if (caller != nullptr) arguments.named.emplace_back("caller", *caller);
  const Callable* callable = callee.callable();
  if (callable == nullptr) {
    if (callee.is_undefined()) return fail("line {}: {}", expr.line, callee.undefined_reason());
    return fail("line {}: {} cannot be called", expr.line, callee.type_name());
  }
  if (callable->kind == Callable::Kind::kMacro) {
    SKVIS_CHECK(located(expr, check_depth()));
    return call_macro(*callable, arguments, expr.line);
  }
  const bool is_method = callable->kind == Callable::Kind::kMethod;
  const Builtin* builtin = is_method ? find_method(callable->self, callable->name)
                                     : find_builtin(functions(), callable->name);
  auto result =
      invoke(*builtin, is_method ? "method" : "function", runtime_, callable->self, arguments);
  // What a template raises is a message for the user and stays as it is.
  raised_ = !result && !is_method && callable->name == "raise_exception";
  if (raised_) return result;
  return located(expr, std::move(result));
}

const Evaluator::Scope* Evaluator::scope_of(const Callable& macro) const {
  for (auto scope = open_scopes_.rbegin(); scope != open_scopes_.rend(); ++scope) {
    if ((*scope)->id == macro.scope) return *scope;
  }
  return &root_;  // the scope has ended; a namespace may have kept the macro
}

Result<Value> Evaluator::call_macro(const Callable& callable, const Arguments& arguments,
                                    int line) {
  const Entered entered(*this, scope_of(callable));
  SKVIS_CHECK(bind_macro(*callable.macro, arguments, line));
  SKVIS_TRY(std::string text, captured_text(callable.macro->body));
  return Value(std::move(text));
}

// Defaults are computed in the macro's scope, where the parameters before them are known.
Result<void> Evaluator::bind_macro(const MacroDefinition& macro, const Arguments& arguments,
                                   int line) {
  const auto& parameters = macro.parameters;
  if (arguments.positional.size() > parameters.size()) {
    return fail("line {}: macro '{}' takes at most {} arguments, found {}", line, macro.name,
                parameters.size(), arguments.positional.size());
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    scope_->names.insert_or_assign(parameters[i], arguments.positional[i]);
  }
  for (const auto& [name, value] : arguments.named) {
    if (name != "caller" &&
        std::find(parameters.begin(), parameters.end(), name) == parameters.end()) {
      return fail("line {}: macro '{}' has no parameter '{}'", line, macro.name, name);
    }
    scope_->names.insert_or_assign(name, value);
  }
  const size_t first_default = parameters.size() - macro.defaults.size();
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (scope_->names.contains(parameters[i])) continue;
    Value value = Value::undefined(fmt::format("parameter '{}' was not given", parameters[i]));
    if (i >= first_default) {
      SKVIS_TRY(value, evaluate(*macro.defaults[i - first_default]));
    }
    scope_->names.insert_or_assign(parameters[i], std::move(value));
  }
  return {};
}

}  // namespace skvis::jinja
