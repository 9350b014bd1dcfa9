// SPDX-License-Identifier: Apache-2.0
#include "grammar/json_numbers.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace skvis {
namespace {

using Expression = GrammarBuilder::Expression;
using Wide = __int128;

constexpr int64_t kDefaultInteger = 9'999'999'999'999'999;
constexpr size_t kDoubleDigits = 15;  // decimal numbers of so many digits are different doubles

class Digits {
 public:
  explicit Digits(GrammarBuilder& builder) : builder_(builder) {}

  // One digit from `low` to `high`.
  Expression range(char low, char high) {
    ByteSet set;
    for (char digit = low; digit <= high; ++digit) set.set(static_cast<uint8_t>(digit));
    return builder_.bytes(set);
  }
  Expression any(size_t min, size_t max) {
    return builder_.repeat(range('0', '9'), static_cast<uint32_t>(min), static_cast<uint32_t>(max));
  }

  // Whole numbers from `low` to `high` without leading zeros; both from 0.
  Expression whole(Wide low, Wide high) {
    std::vector<Expression> alternatives;
    size_t full_from = 0, full_to = 0;  // lengths of which all numbers fit
    Wide begin = 0, end = 9;            // numbers of one length
    for (size_t length = 1; low <= high && begin <= high; ++length) {
      const Wide from = std::max(low, begin), to = std::min(high, end);
      if (length > 1 && from == begin && to == end) {
        if (full_from == 0) full_from = length;
        full_to = length;
      } else if (from <= to) {
        alternatives.push_back(tight(text(from), text(to), true, true));
      }
      begin = end + 1;
      end = end * 10 + 9;
    }
    if (full_from > 0) {
      alternatives.push_back(builder_.sequence({range('1', '9'), any(full_from - 1, full_to - 1)}));
    }
    return builder_.choice(alternatives);
  }

  static std::string text(Wide value) {
    std::string digits;
    do {
      digits.insert(digits.begin(), static_cast<char>('0' + static_cast<int>(value % 10)));
      value /= 10;
    } while (value > 0);
    return digits;
  }

 private:
  // Digits from `low` to `high`, read as numbers of one length; a bound counts only where the
  // digits before were the bound's own.
  Expression tight(std::string_view low, std::string_view high, bool above, bool below) {
    if (low.empty()) return builder_.empty();
    above = above && low.find_first_not_of('0') != low.npos;
    below = below && high.find_first_not_of('9') != high.npos;
    if (!above && !below) return any(low.size(), low.size());
    const char first = above ? low[0] : '0', last = below ? high[0] : '9';
    const auto one = [&](char digit, bool keep_above, bool keep_below) {
      return builder_.sequence(
          {range(digit, digit), tight(low.substr(1), high.substr(1), keep_above, keep_below)});
    };
    if (first == last) return one(first, above, below);
    std::vector<Expression> alternatives;
    char from = first, to = last;
    if (above) alternatives.push_back(one(from++, true, false));
    if (below) alternatives.push_back(one(to--, false, true));
    if (from <= to) {
      alternatives.push_back(
          builder_.sequence({range(from, to), any(low.size() - 1, low.size() - 1)}));
    }
    return builder_.choice(alternatives);
  }

  GrammarBuilder& builder_;
};

// Behind a whole number: the fractions, absent ones included, that lie between two bounds.
class Fractions {
 public:
  struct Bound {
    std::string digits;  // without zeros at the end
    bool exclusive = false;
  };
  Fractions(GrammarBuilder& builder, size_t longest, const Bound* low, const Bound* high)
      : builder_(builder), digits_(builder), longest_(longest), low_(low), high_(high) {}

  Expression build() {
    const Expression some = builder_.sequence(
        {builder_.literal("."), from(0, low_ != nullptr, high_ != nullptr, false)});
    return may_end(0, low_ != nullptr, high_ != nullptr) ? builder_.optional(some) : some;
  }

 private:
  static char digit(const Bound& bound, size_t at) {
    return at < bound.digits.size() ? bound.digits[at] : '0';
  }
  // The digits so far are those of the bounds that are `above` and `below` us, and no more come.
  bool may_end(size_t at, bool above, bool below) const {
    if (above && (at < low_->digits.size() || low_->exclusive)) return false;
    return !below || at < high_->digits.size() || !high_->exclusive;
  }
  Expression from(size_t at, bool above, bool below, bool or_end) {
    const bool end = or_end && may_end(at, above, below);
    if (at == longest_) return end ? builder_.empty() : builder_.nothing();
    if (!above && !below) return digits_.any(end ? 0 : 1, longest_ - at);
    const char first = above ? digit(*low_, at) : '0', last = below ? digit(*high_, at) : '9';
    std::vector<Expression> alternatives;
    if (end) alternatives.push_back(builder_.empty());
    const auto one = [&](char digit, bool keep_above, bool keep_below) {
      alternatives.push_back(builder_.sequence(
          {digits_.range(digit, digit), from(at + 1, keep_above, keep_below, true)}));
    };
    if (first == last) {
      one(first, above, below);
    } else if (first < last) {
      char begin = first, back = last;
      if (above) one(begin++, true, false);
      if (below) one(back--, false, true);
      if (begin <= back) {
        alternatives.push_back(
            builder_.sequence({digits_.range(begin, back), digits_.any(0, longest_ - at - 1)}));
      }
    }
    return builder_.choice(alternatives);
  }

  GrammarBuilder& builder_;
  Digits digits_;
  size_t longest_;
  const Bound* low_;
  const Bound* high_;
};

// A bound as a whole number, rounded inwards: up for a minimum, down for a maximum.
Wide whole_bound(const NumberBounds::Bound& bound, bool minimum) {
  const Wide step = minimum ? 1 : -1;
  if (bound.value.is_number_unsigned()) {
    return static_cast<Wide>(bound.value.get<uint64_t>()) + (bound.exclusive ? step : 0);
  }
  if (bound.value.is_number_integer()) {
    return static_cast<Wide>(bound.value.get<int64_t>()) + (bound.exclusive ? step : 0);
  }
  const double value = bound.value.get<double>();
  const double rounded = minimum ? std::ceil(value) : std::floor(value);
  constexpr double kLimit = 1e30;  // beyond all integers that are written
  const auto whole = static_cast<Wide>(std::clamp(rounded, -kLimit, kLimit));
  return bound.exclusive && rounded == value ? whole + step : whole;
}

// A bound of `number`, as decimal digits.
struct Decimal {
  bool negative = false;
  Wide whole = 0;
  std::string fraction;  // without zeros at the end
  bool exclusive = false;

  bool zero() const { return whole == 0 && fraction.empty(); }
};

Result<Decimal> decimal(const NumberBounds::Bound& bound) {
  constexpr double kLimit = 1e14;
  const double value = bound.value.get<double>();
  if (!(std::abs(value) < kLimit)) {
    return fail("a bound of 'number' must be between -1e14 and 1e14, found {}",
                dump_json(bound.value));
  }
  Decimal result;
  result.exclusive = bound.exclusive;
  result.negative = value < 0;
  // The shortest digits that read as this double, without an exponent.
  std::string text;
  for (size_t digits = 0; digits <= kDoubleDigits; ++digits) {
    text = fmt::format("{:.{}f}", std::abs(value), digits);
    if (std::strtod(text.c_str(), nullptr) == std::abs(value)) break;
    if (digits == kDoubleDigits) text.clear();
  }
  const size_t point = std::min(text.find('.'), text.size());
  for (size_t i = 0; i < point; ++i) result.whole = result.whole * 10 + (text[i] - '0');
  if (point < text.size()) result.fraction = text.substr(point + 1);
  while (!result.fraction.empty() && result.fraction.back() == '0') result.fraction.pop_back();
  const size_t digits = Digits::text(result.whole).size() + result.fraction.size();
  if (text.empty() || digits > kDoubleDigits) {
    return fail("a bound of 'number' may have {} digits, found {}", kDoubleDigits,
                dump_json(bound.value));
  }
  return result;
}

// Magnitudes from `low` (absent: 0, included) to `high` (absent: 15 digits), as decimal texts.
Expression magnitudes(GrammarBuilder& builder, const Decimal* low, const Decimal* high,
                      size_t longest) {
  constexpr Wide kMost = 999'999'999'999'999;
  Digits digits(builder);
  const auto fraction = [](const Decimal& bound) {
    return Fractions::Bound{bound.fraction, bound.exclusive};
  };
  const Wide from = low != nullptr ? low->whole : 0, to = high != nullptr ? high->whole : kMost;
  const Fractions::Bound above = low != nullptr ? fraction(*low) : Fractions::Bound{};
  const Fractions::Bound below = high != nullptr ? fraction(*high) : Fractions::Bound{};
  const auto at = [&](Wide whole, const Fractions::Bound* least, const Fractions::Bound* most) {
    return builder.sequence(
        {builder.literal(Digits::text(whole)), Fractions(builder, longest, least, most).build()});
  };
  if (from > to) return builder.nothing();
  if (from == to)
    return at(from, low != nullptr ? &above : nullptr, high != nullptr ? &below : nullptr);
  std::vector<Expression> alternatives;
  Wide inner_from = from, inner_to = to;
  if (low != nullptr) alternatives.push_back(at(inner_from++, &above, nullptr));
  if (high != nullptr) alternatives.push_back(at(inner_to--, nullptr, &below));
  alternatives.push_back(builder.sequence(
      {digits.whole(inner_from, inner_to), Fractions(builder, longest, nullptr, nullptr).build()}));
  return builder.choice(alternatives);
}

Expression any_number(GrammarBuilder& builder) {
  Digits digits(builder);
  ByteSet exponent, sign;
  exponent.set('e').set('E');
  sign.set('+').set('-');
  const Expression whole = builder.choice(
      {builder.literal("0"), builder.sequence({digits.range('1', '9'), digits.any(0, 15)})});
  return builder.sequence(
      {builder.optional(builder.literal("-")), whole,
       builder.optional(builder.sequence({builder.literal("."), digits.any(1, 16)})),
       builder.optional(builder.sequence(
           {builder.bytes(exponent), builder.optional(builder.bytes(sign)), digits.any(1, 2)}))});
}

}  // namespace

Expression integer_between(GrammarBuilder& builder, const NumberBounds& bounds) {
  Wide low = -Wide{kDefaultInteger}, high = kDefaultInteger;
  if (bounds.min) {
    low = whole_bound(*bounds.min, true);
    if (low > high) high = UINT64_MAX;
  }
  if (bounds.max) {
    high = whole_bound(*bounds.max, false);
    if (!bounds.min && high < low) low = INT64_MIN;
  }
  // What no reader's 64 bits can hold is never written.
  low = std::max<Wide>(low, INT64_MIN);
  high = std::min<Wide>(high, UINT64_MAX);
  Digits digits(builder);
  const Expression negative =
      low < 0
          ? builder.sequence({builder.literal("-"), digits.whole(std::max<Wide>(1, -high), -low)})
          : builder.nothing();
  return builder.choice({digits.whole(std::max<Wide>(low, 0), high), negative});
}

Result<Expression> number_between(GrammarBuilder& builder, const NumberBounds& bounds) {
  if (!bounds.min && !bounds.max) return any_number(builder);
  std::optional<Decimal> low, high;
  size_t whole_digits = 1;
  if (bounds.min) {
    SKVIS_TRY(low, decimal(*bounds.min));
    whole_digits = std::max(whole_digits, Digits::text(low->whole).size());
  }
  if (bounds.max) {
    SKVIS_TRY(high, decimal(*bounds.max));
    whole_digits = std::max(whole_digits, Digits::text(high->whole).size());
  }
  const size_t longest = kDoubleDigits - whole_digits;
  for (const auto* bound : {&low, &high}) {
    if (*bound && (*bound)->fraction.size() > longest) {
      return fail(
          "bounds of 'number' may have {} digits together, counted from the larger one's "
          "first digit",
          kDoubleDigits);
    }
  }
  std::vector<Expression> alternatives;
  const bool below_zero = high && (high->negative || (high->zero() && high->exclusive));
  if (!below_zero) {
    const Decimal* least = low && !low->negative ? &*low : nullptr;
    alternatives.push_back(magnitudes(builder, least, high ? &*high : nullptr, longest));
  }
  if (!low || low->negative) {
    // Behind a minus the bounds change places; zero is written without one.
    const Decimal zero{.exclusive = true};
    const Decimal* least = high && high->negative ? &*high : &zero;
    alternatives.push_back(builder.sequence(
        {builder.literal("-"), magnitudes(builder, least, low ? &*low : nullptr, longest)}));
  }
  return builder.choice(alternatives);
}

}  // namespace skvis
