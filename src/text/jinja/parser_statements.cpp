// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "text/jinja/parser.hpp"
#include "text/jinja/parser_nesting.hpp"

namespace skvis::jinja {

const Token& Parser::peek(size_t ahead) const {
  return tokens_[std::min(position_ + ahead, tokens_.size() - 1)];
}

const Token& Parser::next() {
  const Token& token = peek();
  if (position_ + 1 < tokens_.size()) ++position_;
  return token;
}

bool Parser::at_operator(std::string_view text, size_t ahead) const {
  return peek(ahead).kind == Token::Kind::kOperator && peek(ahead).text == text;
}

bool Parser::at_name(std::string_view text, size_t ahead) const {
  return peek(ahead).kind == Token::Kind::kName && peek(ahead).text == text;
}

bool Parser::accept_operator(std::string_view text) {
  if (!at_operator(text)) return false;
  next();
  return true;
}

bool Parser::accept_name(std::string_view text) {
  if (!at_name(text)) return false;
  next();
  return true;
}

Result<void> Parser::expect_operator(std::string_view text) {
  if (!accept_operator(text)) return unexpected(fmt::format("'{}'", text));
  return {};
}

Result<std::string> Parser::expect_name(std::string_view what) {
  if (peek().kind != Token::Kind::kName) return unexpected(what);
  return next().text;
}

Result<void> Parser::expect_block_end() {
  if (peek().kind != Token::Kind::kBlockEnd) return unexpected("'%}'");
  next();
  return {};
}

Error Parser::unexpected(std::string_view expected) const {
  return fail("line {}: expected {}, found {}", peek().line, expected, describe(peek()));
}

Result<Body> Parser::parse_template() {
  return parse_body({});
}

Result<Body> Parser::parse_body(std::initializer_list<std::string_view> ends) {
  const Nesting nesting(*this);
  SKVIS_CHECK(check_depth());
  Body body;
  while (true) {
    const Token& token = peek();
    if (token.kind == Token::Kind::kEnd) {
      if (ends.size() == 0) return body;
      return unexpected(fmt::format("'{{% {} %}}'", *(ends.end() - 1)));
    }
    if (token.kind == Token::Kind::kText) {
      body.push_back(Stmt{.kind = Stmt::Kind::kText, .line = token.line, .text = next().text});
      continue;
    }
    if (token.kind == Token::Kind::kOutputBegin) {
      SKVIS_TRY(Stmt output, parse_output());
      body.push_back(std::move(output));
      continue;
    }
    next();  // {%
    if (std::any_of(ends.begin(), ends.end(), [&](auto word) { return at_name(word); })) {
      return body;
    }
    SKVIS_TRY(Stmt stmt, parse_statement());
    body.push_back(std::move(stmt));
  }
}

// The rest of a begin tag, a body and its end tag.
Result<Body> Parser::parse_block_until(std::string_view end) {
  SKVIS_CHECK(expect_block_end());
  SKVIS_TRY(Body body, parse_body({end}));
  next();  // the end word
  SKVIS_CHECK(expect_block_end());
  return body;
}

Result<Stmt> Parser::parse_output() {
  Stmt stmt{.kind = Stmt::Kind::kOutput, .line = next().line};
  SKVIS_TRY(ExprPtr value, parse_tuple(true));
  stmt.exprs.push_back(std::move(value));
  if (peek().kind != Token::Kind::kOutputEnd) return unexpected("'}}'");
  next();
  return stmt;
}

Result<Stmt> Parser::parse_statement() {
  Stmt stmt{.line = peek().line};
  if (peek().kind != Token::Kind::kName) return unexpected("the name of a tag");
  const std::string& tag = next().text;
  if (tag == "if") return parse_if(std::move(stmt));
  if (tag == "for") return parse_for(std::move(stmt));
  if (tag == "set") return parse_set(std::move(stmt));
  if (tag == "with") return parse_with(std::move(stmt));
  if (tag == "macro") return parse_macro(std::move(stmt));
  if (tag == "call") return parse_call_block(std::move(stmt));
  if (tag == "filter") return parse_filter_block(std::move(stmt));
  if (tag == "break" || tag == "continue") {
    stmt.kind = tag == "break" ? Stmt::Kind::kBreak : Stmt::Kind::kContinue;
    return parse_loop_control(std::move(stmt));
  }
  if (tag == "generation") {
    // Marks what the assistant says, for training only; here its content counts.
    stmt.kind = Stmt::Kind::kScope;
    SKVIS_TRY(Body body, parse_block_until("endgeneration"));
    stmt.bodies.push_back(std::move(body));
    return stmt;
  }
  return fail(
      "line {}: expected the name of a tag (if, for, set, macro, ...) or the end of an open block, "
      "found '{}'",
      stmt.line, tag.substr(0, 40));
}

Result<Stmt> Parser::parse_if(Stmt stmt) {
  stmt.kind = Stmt::Kind::kIf;
  while (true) {
    SKVIS_TRY(ExprPtr condition, parse_tuple(false));
    stmt.exprs.push_back(std::move(condition));
    SKVIS_CHECK(expect_block_end());
    SKVIS_TRY(Body body, parse_body({"elif", "else", "endif"}));
    stmt.bodies.push_back(std::move(body));
    if (!accept_name("elif")) break;
  }
  if (accept_name("else")) {
    SKVIS_CHECK(expect_block_end());
    SKVIS_TRY(Body body, parse_body({"endif"}));
    stmt.bodies.push_back(std::move(body));
  }
  next();  // endif
  SKVIS_CHECK(expect_block_end());
  return stmt;
}

Result<Stmt> Parser::parse_for(Stmt stmt) {
  stmt.kind = Stmt::Kind::kFor;
  SKVIS_TRY(stmt.target, parse_target(false));
  if (!accept_name("in")) return unexpected("'in'");
  SKVIS_TRY(ExprPtr sequence, parse_tuple(false));
  stmt.exprs.push_back(std::move(sequence));
  stmt.exprs.emplace_back();
  if (accept_name("if")) {
    SKVIS_TRY(stmt.exprs.back(), parse_expression());
  }
  if (at_name("recursive")) {
    return fail("line {}: recursive loops are not supported; use a macro", peek().line);
  }
  SKVIS_CHECK(expect_block_end());
  ++loops_;
  SKVIS_TRY(Body body, parse_body({"else", "endfor"}));
  --loops_;
  stmt.bodies.push_back(std::move(body));
  stmt.bodies.emplace_back();
  if (accept_name("else")) {
    SKVIS_CHECK(expect_block_end());
    SKVIS_TRY(stmt.bodies.back(), parse_body({"endfor"}));
  }
  next();  // endfor
  SKVIS_CHECK(expect_block_end());
  return stmt;
}

Result<Stmt> Parser::parse_set(Stmt stmt) {
  SKVIS_TRY(stmt.target, parse_target(true));
  if (accept_operator("=")) {
    stmt.kind = Stmt::Kind::kSet;
    SKVIS_TRY(ExprPtr value, parse_tuple(true));
    stmt.exprs.push_back(std::move(value));
    SKVIS_CHECK(expect_block_end());
    return stmt;
  }
  stmt.kind = Stmt::Kind::kSetBlock;
  SKVIS_TRY(ExprPtr captured, node(Expr::Kind::kCaptured, stmt.line, {}));
  SKVIS_TRY(captured, parse_filters(std::move(captured)));
  stmt.exprs.push_back(std::move(captured));
  if (peek().kind != Token::Kind::kBlockEnd) return unexpected("'=' or '%}'");
  SKVIS_TRY(Body body, parse_block_until("endset"));
  stmt.bodies.push_back(std::move(body));
  return stmt;
}

Result<Stmt> Parser::parse_with(Stmt stmt) {
  stmt.kind = Stmt::Kind::kWith;
  while (peek().kind != Token::Kind::kBlockEnd) {
    SKVIS_TRY(std::string name, expect_name("a name"));
    SKVIS_CHECK(expect_operator("="));
    SKVIS_TRY(ExprPtr value, parse_expression());
    stmt.target.names.push_back(std::move(name));
    stmt.exprs.push_back(std::move(value));
    if (peek().kind != Token::Kind::kBlockEnd) SKVIS_CHECK(expect_operator(","));
  }
  SKVIS_TRY(Body body, parse_block_until("endwith"));
  stmt.bodies.push_back(std::move(body));
  return stmt;
}

Result<void> Parser::parse_parameters(MacroDefinition& macro) {
  SKVIS_CHECK(expect_operator("("));
  while (!accept_operator(")")) {
    SKVIS_TRY(std::string name, expect_name("the name of a parameter"));
    macro.parameters.push_back(std::move(name));
    if (accept_operator("=")) {
      SKVIS_TRY(ExprPtr value, parse_expression());
      macro.defaults.push_back(std::move(value));
    } else if (!macro.defaults.empty()) {
      return unexpected("a default, as the parameter before has one");
    }
    if (!at_operator(")") && !accept_operator(",")) return unexpected("',' or ')'");
  }
  return {};
}

Result<Stmt> Parser::parse_macro(Stmt stmt) {
  stmt.kind = Stmt::Kind::kMacro;
  stmt.macro = std::make_unique<MacroDefinition>();
  SKVIS_TRY(stmt.macro->name, expect_name("the name of the macro"));
  SKVIS_CHECK(parse_parameters(*stmt.macro));
  const int outer_loops = std::exchange(loops_, 0);
  SKVIS_TRY(stmt.macro->body, parse_block_until("endmacro"));
  loops_ = outer_loops;
  return stmt;
}

Result<Stmt> Parser::parse_call_block(Stmt stmt) {
  stmt.kind = Stmt::Kind::kCallBlock;
  stmt.macro = std::make_unique<MacroDefinition>();
  stmt.macro->name = "caller";
  if (at_operator("(")) SKVIS_CHECK(parse_parameters(*stmt.macro));
  SKVIS_TRY(ExprPtr call, parse_expression());
  if (call->kind != Expr::Kind::kCall) {
    return fail("line {}: expected the call of a macro behind 'call'", stmt.line);
  }
  stmt.exprs.push_back(std::move(call));
  const int outer_loops = std::exchange(loops_, 0);
  SKVIS_TRY(stmt.macro->body, parse_block_until("endcall"));
  loops_ = outer_loops;
  return stmt;
}

Result<Stmt> Parser::parse_filter_block(Stmt stmt) {
  stmt.kind = Stmt::Kind::kFilterBlock;
  SKVIS_TRY(ExprPtr captured, node(Expr::Kind::kCaptured, stmt.line, {}));
  SKVIS_TRY(captured, parse_one_filter(std::move(captured)));
  SKVIS_TRY(captured, parse_filters(std::move(captured)));
  stmt.exprs.push_back(std::move(captured));
  SKVIS_TRY(Body body, parse_block_until("endfilter"));
  stmt.bodies.push_back(std::move(body));
  return stmt;
}

Result<Stmt> Parser::parse_loop_control(Stmt stmt) {
  if (loops_ == 0) {
    return fail("line {}: break and continue need a for loop around them", stmt.line);
  }
  SKVIS_CHECK(expect_block_end());
  return stmt;
}

Result<Target> Parser::parse_target(bool with_attribute) {
  Target target;
  const bool bracketed = accept_operator("(");
  SKVIS_TRY(std::string first, expect_name("a name"));
  target.names.push_back(std::move(first));
  if (with_attribute && !bracketed && accept_operator(".")) {
    SKVIS_TRY(target.attribute, expect_name("the name of an attribute"));
    return target;
  }
  while (accept_operator(",")) {
    target.unpacks = true;
    if (peek().kind != Token::Kind::kName || at_name("in")) break;
    target.names.push_back(next().text);
  }
  if (bracketed) SKVIS_CHECK(expect_operator(")"));
  return target;
}

Result<Body> parse(std::string_view source) {
  constexpr size_t kMaxSource = size_t{1} << 19;  // the longest known ones have some 30 KB
  if (source.size() > kMaxSource) {
    return fail("the template has {} bytes, at most {} are accepted", source.size(), kMaxSource);
  }
  SKVIS_TRY(std::vector<Token> tokens, tokenize(source));
  return Parser(std::move(tokens)).parse_template();
}

}  // namespace skvis::jinja
