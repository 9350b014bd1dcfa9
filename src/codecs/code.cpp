// SPDX-License-Identifier: Apache-2.0
// A codec with its transform: the phases of a codec, with the linear map where it belongs. Rows are
// mapped before encode and mapped back after decode; a query is mapped once, since an orthonormal
// map keeps q.k; values stay mapped in the accumulator and come back in finish.
#include <algorithm>
#include <cstring>
#include <vector>

#include "base/aligned.hpp"
#include "base/nearest.hpp"
#include "codecs/codec.hpp"

namespace skvis {
namespace {

constexpr size_t kLongestCode = 256;

// Mapped copies of rows; grows to the largest page or query group a thread meets, then stays.
float* scratch(size_t count) {
  thread_local AlignedBuffer<float> buffer;
  buffer.ensure(count);
  return buffer.data();
}

template <typename Entry>
const Entry* find_entry(std::span<const Entry* const> entries, std::string_view name) {
  for (const Entry* entry : entries) {
    if (entry->name == name) return entry;
  }
  return nullptr;
}

std::vector<std::string_view> known_words() {
  std::vector<std::string_view> words;
  for (const Codec* codec : codecs()) words.push_back(codec->name);
  for (const Transform* transform : transforms()) words.push_back(transform->name);
  return words;
}

std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> words;
  while (true) {
    const size_t begin = text.find_first_not_of(" \t");
    if (begin == text.npos) return words;
    const size_t end = std::min(text.find_first_of(" \t", begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    text.remove_prefix(end);
  }
}

}  // namespace

std::string Code::text() const {
  std::string text(codec->name);
  if (transform != nullptr) text.append(" ").append(transform->name);
  return text;
}

Result<void> Code::supports(const BlockContext& context) const {
  SKVIS_CHECK(codec->supports(context));
  if (transform == nullptr) return {};
  if (context.role == Role::key && codec->key_form == KeyForm::before_rope) {
    return fail("{} stores keys before RoPE and cannot be combined with {}", codec->name,
                transform->name);
  }
  return transform->supports(context.head_dim);
}

bool Code::encode(const BlockContext& context, RowsView rows, uint32_t first_slot,
                  std::byte* block) const {
  if (transform == nullptr) return codec->encode(context, rows, first_slot, block);
  const size_t width = rows.head_dim;
  float* mapped = scratch(rows.rows * width);
  for (size_t i = 0; i < rows.rows; ++i) std::copy_n(rows.row(i), width, mapped + i * width);
  transform->forward(context.head_dim, mapped, rows.rows);
  return codec->encode(context, RowsView{mapped, rows.rows, width, width}, first_slot, block);
}

void Code::decode(const BlockContext& context, const std::byte* block, uint32_t first_slot,
                  uint32_t count, float* rows) const {
  codec->decode(context, block, first_slot, count, rows);
  if (transform != nullptr) transform->inverse(context.head_dim, rows, count);
}

size_t Code::query_bytes(const BlockContext& context, uint32_t rows) const {
  return codec->query_bytes != nullptr ? codec->query_bytes(context, rows) : 0;
}

void Code::prepare_query(const BlockContext& context, const float* q, uint32_t rows,
                         std::byte* query) const {
  if (transform == nullptr) return codec->prepare_query(context, q, rows, query);
  const size_t count = size_t{rows} * context.head_dim;
  float* mapped = scratch(count);
  std::copy_n(q, count, mapped);
  transform->forward(context.head_dim, mapped, rows);
  codec->prepare_query(context, mapped, rows, query);
}

size_t Code::accumulator_width(const BlockContext& context) const {
  return codec->accumulator_width != nullptr ? codec->accumulator_width(context)
                                             : size_t{context.head_dim};
}

void Code::finish(const BlockContext& context, const float* accumulator, const float* weight_sums,
                  uint32_t rows, float* out) const {
  if (codec->finish != nullptr) {
    codec->finish(context, accumulator, weight_sums, rows, out);
  } else {
    std::memmove(out, accumulator, size_t{rows} * context.head_dim * sizeof(float));
  }
  if (transform != nullptr && context.role == Role::value) {
    transform->inverse(context.head_dim, out, rows);
  }
}

Result<Code> parse_code(std::string_view text) {
  if (text.size() > kLongestCode) {
    return fail("the code {} is {} characters long, expected at most {}", in_quotes(text),
                text.size(), kLongestCode);
  }
  Code code;
  for (const std::string_view word : split_words(text)) {
    if (const Codec* codec = find_entry(codecs(), word)) {
      if (code.codec != nullptr) {
        return fail("the code {} names two codecs, {} and {}; expected one", in_quotes(text),
                    code.codec->name, codec->name);
      }
      code.codec = codec;
    } else if (const Transform* transform = find_entry(transforms(), word)) {
      if (code.transform != nullptr) {
        return fail("the code {} names two transforms, {} and {}; expected at most one",
                    in_quotes(text), code.transform->name, transform->name);
      }
      code.transform = transform;
    } else {
      return fail("unknown codec {}{}", in_quotes(word), suggestion(word, known_words()));
    }
  }
  if (code.codec == nullptr) {
    std::vector<std::string_view> names;
    for (const Codec* codec : codecs()) names.push_back(codec->name);
    return fail("the code {} names no codec; expected one of {}", in_quotes(text),
                fmt::join(names, ", "));
  }
  return code;
}

}  // namespace skvis
