// SPDX-License-Identifier: Apache-2.0
#include "bench/bandwidth.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace skvis {
namespace {

constexpr size_t kBlock = size_t{1} << 20;  // an item of work
constexpr size_t kPrefetchAhead = size_t{2} << 10;

// Sums of loads, so that none can be left out.
template <bool kPrefetch>
uint64_t read_words(const std::byte* data, size_t bytes) {
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes; i += 8) {
    if constexpr (kPrefetch) {
      if (i % kCacheLine == 0) __builtin_prefetch(data + i + kPrefetchAhead);
    }
    uint64_t word;
    std::memcpy(&word, data + i, sizeof word);
    sum += word;
  }
  return sum;
}

#if defined(__x86_64__)
template <bool kPrefetch>
__attribute__((target("avx2"))) uint64_t read_avx2(const std::byte* data, size_t bytes) {
  __m256i sums[4] = {};
  for (size_t i = 0; i < bytes; i += 128) {
    if constexpr (kPrefetch) {
      _mm_prefetch(reinterpret_cast<const char*>(data + i + kPrefetchAhead), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(data + i + kPrefetchAhead + 64), _MM_HINT_T0);
    }
    for (size_t k = 0; k < 4; ++k) {
      sums[k] = _mm256_add_epi64(
          sums[k], _mm256_load_si256(reinterpret_cast<const __m256i*>(data + i + 32 * k)));
    }
  }
  const __m256i sum =
      _mm256_add_epi64(_mm256_add_epi64(sums[0], sums[1]), _mm256_add_epi64(sums[2], sums[3]));
  return static_cast<uint64_t>(_mm256_extract_epi64(sum, 0));
}

template <bool kPrefetch>
__attribute__((target("avx512f"))) uint64_t read_avx512(const std::byte* data, size_t bytes) {
  __m512i sums[4] = {};
  for (size_t i = 0; i < bytes; i += 256) {
    if constexpr (kPrefetch) {
      for (size_t line = 0; line < 256; line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(data + i + kPrefetchAhead + line), _MM_HINT_T0);
      }
    }
    for (size_t k = 0; k < 4; ++k) {
      sums[k] = _mm512_add_epi64(sums[k], _mm512_load_si512(data + i + 64 * k));
    }
  }
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(
      _mm512_add_epi64(_mm512_add_epi64(sums[0], sums[1]), _mm512_add_epi64(sums[2], sums[3]))));
}
#endif

template <bool kPrefetch>
uint64_t read_block(const std::byte* data, size_t bytes) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return read_avx512<kPrefetch>(data, bytes);
  if (__builtin_cpu_supports("avx2")) return read_avx2<kPrefetch>(data, bytes);
#endif
  return read_words<kPrefetch>(data, bytes);
}

}  // namespace

uint64_t read_bytes(const std::byte* data, size_t bytes) {
  return read_block<true>(data, bytes);
}

ReadBandwidth::ReadBandwidth(size_t bytes) : buffer_(round_up(bytes, kBlock)) {
  // Every page its own memory: untouched pages would all be the one page of zeros.
  for (size_t i = 0; i < buffer_.size(); ++i) buffer_[i] = static_cast<std::byte>(i * 31);
}

double ReadBandwidth::pass(ThreadPool& threads, bool prefetch) {
  std::atomic<uint64_t> sink{0};
  const auto start = std::chrono::steady_clock::now();
  threads.run(buffer_.size() / kBlock, [&](size_t item, size_t) {
    const std::byte* data = buffer_.data() + item * kBlock;
    sink.fetch_add(prefetch ? read_block<true>(data, kBlock) : read_block<false>(data, kBlock),
                   std::memory_order_relaxed);
  });
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return static_cast<double>(buffer_.size()) / seconds.count();
}

double ReadBandwidth::measure(ThreadPool& threads) {
  return std::max(pass(threads, false), pass(threads, true));
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace skvis
