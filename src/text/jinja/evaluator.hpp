// SPDX-License-Identifier: Apache-2.0
// Walks a template's tree and writes its text.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "text/jinja/ast.hpp"
#include "text/jinja/runtime.hpp"

namespace skvis::jinja {

class Evaluator {
 public:
  Evaluator(Runtime& runtime, const Dict& variables);

  Result<std::string> render(const Body& body);
  // Whether the error of render() is one that the template raised itself.
  bool raised() const { return raised_; }

 private:
  // Names of one scope. Loops, macros, captured blocks and `with` open one; `if` does not.
  struct Scope {
    const Scope* parent = nullptr;
    uint64_t id = 0;
    std::unordered_map<std::string, Value> names;
  };
  enum class Flow { kNormal, kBreak, kContinue };
  class Entered;  // opens a scope, and one level of depth, until its end
  class Deeper;   // one level of depth

  // Statements (evaluator.cpp).
  Result<Flow> execute(const Body& body);
  Result<Flow> execute(const Stmt& stmt);
  Result<Flow> execute_if(const Stmt& stmt);
  Result<Flow> execute_for(const Stmt& stmt);
  Result<Flow> execute_with(const Stmt& stmt);
  Result<Flow> execute_in_scope(const Body& body);
  Result<std::vector<Value>> loop_items(const Stmt& stmt);
  Result<void> call_block(const Stmt& stmt);
  Result<Value> captured(const Body& body, const Expr& filters);
  Result<std::string> captured_text(const Body& body);
  Result<void> assign(const Target& target, const Value& value, int line);
  Result<void> write(std::string_view text, int line);
  void define_macro(const MacroDefinition& macro);
  Value macro_value(const MacroDefinition& macro) const;

  // Expressions (evaluator_expressions.cpp).
  Result<Value> evaluate(const Expr& expr);
  Result<Value> evaluate_name(const Expr& expr);
  Result<Value> evaluate_sequence(const Expr& expr);
  Result<Value> evaluate_dict(const Expr& expr);
  Result<Value> evaluate_slice(const Expr& expr);
  Result<Value> evaluate_sign(const Expr& expr);
  Result<Value> evaluate_concat(const Expr& expr);
  Result<Value> evaluate_compare(const Expr& expr);
  Result<Value> evaluate_conditional(const Expr& expr);
  Result<Value> evaluate_filter_or_test(const Expr& expr);
  Result<Value> evaluate_call(const Expr& expr, const Value* caller);
  Result<bool> holds(std::string_view operation, const Value& a, const Value& b);
  Result<Arguments> evaluate_arguments(const Expr& expr);
  Result<Value> call_macro(const Callable& callable, const Arguments& arguments, int line);
  Result<void> bind_macro(const MacroDefinition& macro, const Arguments& arguments, int line);

  Result<void> check_depth() const;
  const Scope* scope_of(const Callable& macro) const;

  Runtime& runtime_;
  Scope root_;
  Scope* scope_ = &root_;
  std::vector<const Scope*> open_scopes_;
  uint64_t last_scope_id_ = 0;
  int depth_ = 0;
  std::string* output_ = nullptr;
  bool raised_ = false;
  Value captured_;  // what Expr::Kind::kCaptured means
};

}  // namespace skvis::jinja
