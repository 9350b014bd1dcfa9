// SPDX-License-Identifier: Apache-2.0
// JSON as Python's json.dumps writes it: models were trained on exactly these separators.
#include <algorithm>
#include <cmath>

#include "text/jinja/runtime.hpp"
#include "text/jinja/unicode.hpp"

namespace skvis::jinja {
namespace {

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}

  Result<void> write(const Value& value) {
    if (value.is_none()) {
      out += "null";
    } else if (const auto* flag = value.boolean()) {
      out += *flag ? "true" : "false";
    } else if (value.as_number()) {
      out += number_text(value);
    } else if (const auto* text = value.string()) {
      quote(*text);
    } else if (const auto* list = value.list()) {
      return write_list(*list);
    } else if (const auto* dict = value.dict()) {
      return write_dict(*dict);
    } else if (value.is_undefined()) {
      return fail("{}", value.undefined_reason());
    } else {
      return fail("{} cannot be written as JSON", value.type_name());
    }
    return {};
  }

  std::string out;

 private:
  static std::string number_text(const Value& value) {
    const auto* real = value.floating();
    if (real == nullptr) return fmt::format("{}", *value.as_integer());
    if (std::isnan(*real)) return "NaN";
    if (std::isinf(*real)) return *real < 0 ? "-Infinity" : "Infinity";
    return float_text(*real);
  }

  void line() {
    if (style_.indent < 0) return;
    out += '\n';
    out.append(static_cast<size_t>(style_.indent) * depth_, ' ');
  }

  template <typename Items, typename Write>
  Result<void> write_items(char open, char close, const Items& items, Write write_item) {
    out += open;
    ++depth_;
    bool first = true;
    for (const auto& item : items) {
      if (!first) out += style_.item_separator;
      first = false;
      line();
      SKVIS_CHECK(write_item(item));
    }
    --depth_;
    if (!first) line();
    out += close;
    return {};
  }

  Result<void> write_list(const List& list) {
    return write_items('[', ']', list.items, [&](const Value& item) { return write(item); });
  }

  Result<void> write_dict(const Dict& dict) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      const auto all_text = std::all_of(entries.begin(), entries.end(), [](const auto* entry) {
        return entry->first.string() != nullptr;
      });
      if (!all_text) return fail("sort_keys needs keys that are strings");
      std::sort(entries.begin(), entries.end(), [](const auto* a, const auto* b) {
        return *a->first.string() < *b->first.string();
      });
    }
    return write_items('{', '}', entries, [&](const auto* entry) -> Result<void> {
      SKVIS_CHECK(write_key(entry->first));
      out += style_.key_separator;
      return write(entry->second);
    });
  }

  Result<void> write_key(const Value& key) {
    if (const auto* text = key.string()) {
      quote(*text);
    } else if (key.is_none()) {
      out += "\"null\"";
    } else if (const auto* flag = key.boolean()) {
      out += *flag ? "\"true\"" : "\"false\"";
    } else if (key.as_number()) {
      out += '"' + number_text(key) + '"';
    } else {
      return fail("{} cannot be a key in JSON", key.type_name());
    }
    return {};
  }

  void quote(std::string_view text) {
    static constexpr std::string_view kSpecial = "\"\\\n\r\t\f\b";
    static constexpr std::string_view kLetters = "\"\\nrtfb";
    out += '"';
    for (size_t position = 0; position < text.size();) {
      const size_t begin = position;
      const char32_t c = decode(text, position);
      const size_t special = c < 0x80 ? kSpecial.find(static_cast<char>(c)) : kSpecial.npos;
      if (special != kSpecial.npos) {
        out += '\\';
        out += kLetters[special];
      } else if (c < 0x20 || (style_.ascii && c > 0x7E)) {
        escape(c);
      } else {
        out.append(text, begin, position - begin);
      }
    }
    out += '"';
  }

  void escape(char32_t c) {
    if (c > 0xFFFF) {
      const auto offset = static_cast<uint32_t>(c) - 0x10000;
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (offset >> 10), 0xDC00 + (offset & 0x3FF));
    } else {
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    }
  }

  const JsonStyle& style_;
  size_t depth_ = 0;
};

}  // namespace

Result<std::string> to_json_text(Runtime& runtime, const Value& value, const JsonStyle& style) {
  const Extent extent = extent_of(value);
  const size_t per_item = style.item_separator.size() + style.key_separator.size() +
                          static_cast<size_t>(std::max(style.indent, 0) * (extent.depth + 1));
  SKVIS_CHECK(runtime.charge(extent.weight * (1 + per_item / 8)));
  JsonWriter writer(style);
  SKVIS_CHECK(writer.write(value));
  return std::move(writer.out);
}

}  // namespace skvis::jinja
