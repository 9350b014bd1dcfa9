// SPDX-License-Identifier: Apache-2.0
// Tokens -> tree, by recursive descent with bounded depth.
#pragma once

#include <string_view>
#include <vector>

#include "text/jinja/ast.hpp"
#include "text/jinja/lexer.hpp"

namespace skvis::jinja {

// Errors name the line, what was expected and what was found.
Result<Body> parse(std::string_view source);

// The parts of parse(), in parser_statements.cpp and parser_expressions.cpp.
class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Result<Body> parse_template();

 private:
  struct Arguments {
    std::vector<ExprPtr> values;
    std::vector<std::string> labels;  // names of the last ones
  };

  // Tokens.
  const Token& peek(size_t ahead = 0) const;
  const Token& next();
  bool at_operator(std::string_view text, size_t ahead = 0) const;
  bool at_name(std::string_view text, size_t ahead = 0) const;
  bool accept_operator(std::string_view text);
  bool accept_name(std::string_view text);
  Result<void> expect_operator(std::string_view text);
  Result<std::string> expect_name(std::string_view what);
  Result<void> expect_block_end();
  Error unexpected(std::string_view expected) const;

  // Statements. parse_body stops behind `{%` where one of the words in `ends` stands.
  Result<Body> parse_body(std::initializer_list<std::string_view> ends);
  Result<Body> parse_block_until(std::string_view end);
  Result<Stmt> parse_statement();
  Result<Stmt> parse_output();
  Result<Stmt> parse_if(Stmt stmt);
  Result<Stmt> parse_for(Stmt stmt);
  Result<Stmt> parse_set(Stmt stmt);
  Result<Stmt> parse_with(Stmt stmt);
  Result<Stmt> parse_macro(Stmt stmt);
  Result<Stmt> parse_call_block(Stmt stmt);
  Result<Stmt> parse_filter_block(Stmt stmt);
  Result<Stmt> parse_loop_control(Stmt stmt);
  Result<Target> parse_target(bool with_attribute);
  Result<void> parse_parameters(MacroDefinition& macro);

  // Expressions, loosest binding first. parse_expression reads one; parse_tuple also `a, b`.
  Result<ExprPtr> parse_tuple(bool with_condition);
  Result<ExprPtr> parse_expression();
  Result<ExprPtr> parse_or();
  Result<ExprPtr> parse_and();
  Result<ExprPtr> parse_not();
  Result<ExprPtr> parse_compare();
  Result<ExprPtr> parse_sum();
  Result<ExprPtr> parse_concat();
  Result<ExprPtr> parse_product();
  Result<ExprPtr> parse_power();
  Result<ExprPtr> parse_unary(bool with_filters);
  Result<ExprPtr> parse_postfix(ExprPtr expr);
  Result<ExprPtr> parse_filters(ExprPtr expr);
  Result<ExprPtr> parse_one_filter(ExprPtr input);
  Result<ExprPtr> parse_test(ExprPtr input);
  Result<ExprPtr> parse_primary();
  Result<ExprPtr> parse_parenthesis();
  Result<ExprPtr> parse_list();
  Result<ExprPtr> parse_dict();
  Result<ExprPtr> parse_subscript(ExprPtr expr);
  Result<ExprPtr> parse_call(ExprPtr callee);
  Result<Arguments> parse_arguments();
  bool at_expression_end() const;

  using Rule = Result<ExprPtr> (Parser::*)();
  Result<ExprPtr> parse_left_to_right(Rule operand,
                                      std::initializer_list<std::string_view> operators);
  Result<ExprPtr> node(Expr::Kind kind, int line, std::vector<ExprPtr> children,
                       std::string name = {});
  Result<ExprPtr> finish(ExprPtr expr);

  // Counts how deeply rules call each other; every rule that may call itself holds one.
  class Nesting;
  Result<void> check_depth() const;

  std::vector<Token> tokens_;
  size_t position_ = 0;
  int depth_ = 0;
  int loops_ = 0;  // loops around the statement, for break and continue
};

}  // namespace skvis::jinja
