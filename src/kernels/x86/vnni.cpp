// SPDX-License-Identifier: Apache-2.0
// Products with codes by VPDPBUSD, unsigned bytes times signed bytes: codes times the high and low
// bytes of the row in two sums; high * 256 + low is the exact integer sum of the other levels.
#include "kernels/x86/vnni.hpp"

#if defined(__x86_64__)
// GCC 12 takes the deliberately undefined operands inside its own intrinsics for uninitialised
// reads.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "base/prefetch.hpp"

#define SKVIS_VNNI \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")))
#define SKVIS_VNNI_INLINE SKVIS_VNNI __attribute__((always_inline)) inline

namespace skvis::kernels::x86 {
namespace {

// Four bytes of a prepared row, which the dot products spread over all lanes as they read them. In
// assembly: GCC 12 spreads them by an instruction of their own and copies every sum.
using FourBytes [[gnu::may_alias]] = int32_t;
SKVIS_VNNI_INLINE const FourBytes& four_bytes(const char* x) {
  return *reinterpret_cast<const FourBytes*>(x);
}

// The operations for a tile of 16 lanes (512 bits) and for one of 8 (256 bits). dot adds to sum the
// products of codes with the four bytes at x.
struct Wide {
  using Words = __m512i;
  using Floats = __m512;
  static constexpr size_t kLanes = 16;
  SKVIS_VNNI_INLINE static Words zero() { return _mm512_setzero_si512(); }
  SKVIS_VNNI_INLINE static Words load(const uint8_t* p) { return _mm512_loadu_si512(p); }
  SKVIS_VNNI_INLINE static Words low_nibbles(Words w) {
    return _mm512_and_si512(w, _mm512_set1_epi8(15));
  }
  SKVIS_VNNI_INLINE static Words high_nibbles(Words w) {
    return _mm512_and_si512(_mm512_srli_epi16(w, 4), _mm512_set1_epi8(15));
  }
  SKVIS_VNNI_INLINE static void dot(Words& sum, Words codes, const char* x) {
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(codes), "m"(four_bytes(x)));
  }
  SKVIS_VNNI_INLINE static Floats join(Words high, Words low) {
    return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low));
  }
  SKVIS_VNNI_INLINE static Floats halves(const Half* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  SKVIS_VNNI_INLINE static Floats spread(float value) { return _mm512_set1_ps(value); }
  SKVIS_VNNI_INLINE static Floats load_floats(const float* p) { return _mm512_loadu_ps(p); }
  SKVIS_VNNI_INLINE static void store(float* p, Floats v) { _mm512_storeu_ps(p, v); }
  SKVIS_VNNI_INLINE static Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  SKVIS_VNNI_INLINE static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  SKVIS_VNNI_INLINE static Floats fma(Floats a, Floats b, Floats c) {
    return _mm512_fmadd_ps(a, b, c);
  }
};
struct Narrow {
  using Words = __m256i;
  using Floats = __m256;
  static constexpr size_t kLanes = 8;
  SKVIS_VNNI_INLINE static Words zero() { return _mm256_setzero_si256(); }
  SKVIS_VNNI_INLINE static Words load(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  SKVIS_VNNI_INLINE static Words low_nibbles(Words w) {
    return _mm256_and_si256(w, _mm256_set1_epi8(15));
  }
  SKVIS_VNNI_INLINE static Words high_nibbles(Words w) {
    return _mm256_and_si256(_mm256_srli_epi16(w, 4), _mm256_set1_epi8(15));
  }
  SKVIS_VNNI_INLINE static void dot(Words& sum, Words codes, const char* x) {
    __asm__("vpdpbusd %2%{1to8%}, %1, %0" : "+v"(sum) : "v"(codes), "m"(four_bytes(x)));
  }
  SKVIS_VNNI_INLINE static Floats join(Words high, Words low) {
    return _mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_slli_epi32(high, 8), low));
  }
  SKVIS_VNNI_INLINE static Floats halves(const Half* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  SKVIS_VNNI_INLINE static Floats spread(float value) { return _mm256_set1_ps(value); }
  SKVIS_VNNI_INLINE static Floats load_floats(const float* p) { return _mm256_loadu_ps(p); }
  SKVIS_VNNI_INLINE static void store(float* p, Floats v) { _mm256_storeu_ps(p, v); }
  SKVIS_VNNI_INLINE static Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  SKVIS_VNNI_INLINE static Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  SKVIS_VNNI_INLINE static Floats fma(Floats a, Floats b, Floats c) {
    return _mm256_fmadd_ps(a, b, c);
  }
};

struct Tile {
  const uint8_t* codes;
  size_t first_lane;
  const uint8_t* prefetch;
};

// See code_dot and code_accumulate in CodeProduct.
struct StoreLogits {
  template <class Ops>
  SKVIS_VNNI_INLINE static void store(const CodeProduct& p, size_t row, size_t lane,
                                      typename Ops::Floats sum) {
    const auto scaled = Ops::mul(Ops::spread(p.x.scale[row]), sum);
    const auto constant = Ops::mul(Ops::spread(p.x.constant[row]), Ops::halves(p.minimum + lane));
    Ops::store(p.out + row * p.out_stride + lane,
               Ops::fma(scaled, Ops::halves(p.scale + lane), constant));
  }
};
struct AddValues {
  template <class Ops>
  SKVIS_VNNI_INLINE static void store(const CodeProduct& p, size_t row, size_t lane,
                                      typename Ops::Floats sum) {
    float* out = p.out + row * p.out_stride + lane;
    const auto value = Ops::fma(Ops::spread(p.x.scale[row]), sum, Ops::spread(p.x.constant[row]));
    Ops::store(out, Ops::add(Ops::load_floats(out), value));
  }
};

// What one product does with a tile: code words in, a sum per row out.
template <CodeBits kBits, class Ops, class Finish, size_t kRows>
SKVIS_VNNI_INLINE void code_tile(const CodeProduct& p, const Tile& tile) {
  constexpr size_t kGroups = kBits == CodeBits::eight ? 1 : 2;  // groups of four k per word
  constexpr size_t kTurn = 4 * Ops::kLanes;
  const size_t row_bytes = prepared_row_bytes(p.depth);
  typename Ops::Words high[kRows];
  typename Ops::Words low[kRows];
  for (size_t r = 0; r < kRows; ++r) high[r] = low[r] = Ops::zero();
  const char* x = static_cast<const char*>(p.x.data) + 8;
  const uint8_t* codes = tile.codes;
  const uint8_t* prefetch = tile.prefetch;
  for (size_t k = 0; k < p.depth; k += 4 * kGroups) {
    prefetch_line(prefetch);
    const auto word = Ops::load(codes);
    for (size_t group = 0; group < kGroups; ++group, x += 16) {
      const auto code = kGroups == 1 ? word
                        : group == 0 ? Ops::low_nibbles(word)
                                     : Ops::high_nibbles(word);
      for (size_t r = 0; r < kRows; ++r) {
        Ops::dot(high[r], code, x + r * row_bytes);
        Ops::dot(low[r], code, x + r * row_bytes + 4);
      }
    }
    codes += kTurn;
    prefetch += kTurn;
  }
  for (size_t r = 0; r < kRows; ++r) {
    const typename Ops::Floats sum = Ops::join(high[r], low[r]);
    Finish::template store<Ops>(p, r, tile.first_lane, sum);
  }
}

template <CodeBits kBits, class Finish, size_t kRows>
SKVIS_VNNI void code_product_rows(const CodeProduct& p) {
  const auto* next = static_cast<const uint8_t*>(p.prefetch);
  const uint8_t* prefetch = next != nullptr ? next : p.codes;
  for (size_t lane = 0; lane < p.lanes; lane += kTileLanes) {
    const size_t offset = lane * p.depth / (kBits == CodeBits::eight ? 1 : 2);
    const Tile tile = {
        .codes = p.codes + offset, .first_lane = lane, .prefetch = prefetch + offset};
    if (tile_width(p.lanes, lane) == kTileLanes) {
      code_tile<kBits, Wide, Finish, kRows>(p, tile);
    } else {
      code_tile<kBits, Narrow, Finish, kRows>(p, tile);
    }
  }
}

template <CodeBits kBits, class Finish>
void code_product(const CodeProduct& p) {
  static constexpr void (*kByRows[kMaxRows])(const CodeProduct&) = {
      code_product_rows<kBits, Finish, 1>, code_product_rows<kBits, Finish, 2>,
      code_product_rows<kBits, Finish, 3>, code_product_rows<kBits, Finish, 4>,
      code_product_rows<kBits, Finish, 5>, code_product_rows<kBits, Finish, 6>,
      code_product_rows<kBits, Finish, 7>, code_product_rows<kBits, Finish, 8>};
  kByRows[p.rows - 1](p);
}

}  // namespace

bool fill_vnni(Kernels& table) {
  if (!__builtin_cpu_supports("avx512vnni")) return false;
  constexpr auto k8 = static_cast<size_t>(CodeBits::eight);
  constexpr auto k4 = static_cast<size_t>(CodeBits::four);
  table.code_dot[k8] = code_product<CodeBits::eight, StoreLogits>;
  table.code_dot[k4] = code_product<CodeBits::four, StoreLogits>;
  table.code_accumulate[k8] = code_product<CodeBits::eight, AddValues>;
  table.code_accumulate[k4] = code_product<CodeBits::four, AddValues>;
  return true;
}

}  // namespace skvis::kernels::x86

#else

namespace skvis::kernels::x86 {
bool fill_vnni(Kernels&) {
  return false;
}
}  // namespace skvis::kernels::x86

#endif
