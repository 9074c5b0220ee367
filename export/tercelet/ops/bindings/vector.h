// Vectors of floats as the compiler's own vector types: one source for AVX-512, AVX2, SSE2 and NEON.
//
// Everything here is inline and lies in a namespace of its own for each instruction set, so that no function
// compiled for a newer set can be linked in place of one for an older.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if !defined(TERCELET_SIMD)
#error "TERCELET_SIMD: expected plain, avx2 or avx512, see CMakeLists.txt"
#endif

namespace tercelet {
namespace TERCELET_SIMD {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef int32_t Integers __attribute__((vector_size(4 * kLanes)));

static inline Vector load(const float* from) {
  Vector value;
  memcpy(&value, from, sizeof value);
  return value;
}

static inline void store(float* to, Vector value) { memcpy(to, &value, sizeof value); }

static inline Integers load(const int32_t* from) {
  Integers value;
  memcpy(&value, from, sizeof value);
  return value;
}

static inline void store(int32_t* to, Integers value) { memcpy(to, &value, sizeof value); }

static inline Vector all_of(float value) { return value - Vector{}; }
static inline Integers all_of(int32_t value) { return value - Integers{}; }

// 0, 1, 2, ...
static inline Integers lane_numbers() {
  Integers numbers{};
  for (int lane = 0; lane < kLanes; ++lane) numbers[lane] = lane;
  return numbers;
}

static inline Vector larger(Vector a, Vector b) { return a > b ? a : b; }
static inline Vector smaller(Vector a, Vector b) { return a < b ? a : b; }

// One bit for each lane of a comparison, the first lane's the lowest.
static inline uint32_t bits_of(Integers mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)mask);
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_ps((__m256)mask));
#elif defined(__x86_64__)
  return static_cast<uint32_t>(_mm_movemask_ps((__m128)mask));
#else
  uint32_t bits = 0;
  for (int lane = 0; lane < kLanes; ++lane) bits |= static_cast<uint32_t>(mask[lane] & 1) << lane;
  return bits;
#endif
}

// bits_of(a < b) and bits_of(a == b), without the way over vectors where comparisons give bits.
static inline uint32_t bits_less(Vector a, Vector b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ);
#else
  return bits_of(a < b);
#endif
}

static inline uint32_t bits_equal(Vector a, Vector b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ);
#else
  return bits_of(a == b);
#endif
}

// The largest of all lanes, none of which is NaN.
static inline float largest_of(Vector v) {
#if defined(__AVX2__)
#if defined(__AVX512F__)
  // With a mask of all lanes: what the plain form leaves undefined is taken for a mistake by some compilers.
  const __m512 all = (__m512)v;
  const __m256 half =
      _mm256_max_ps(_mm512_maskz_extractf32x8_ps(255, all, 0), _mm512_maskz_extractf32x8_ps(255, all, 1));
#else
  const __m256 half = (__m256)v;
#endif
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
#else
  float best = v[0];
  for (int lane = 1; lane < kLanes; ++lane) best = v[lane] > best ? v[lane] : best;
  return best;
#endif
}

static inline int32_t smallest_of(Integers v) {
#if defined(__AVX2__)
#if defined(__AVX512F__)
  const __m512i all = (__m512i)v;
  const __m256i half =
      _mm256_min_epi32(_mm512_maskz_extracti32x8_epi32(255, all, 0), _mm512_maskz_extracti32x8_epi32(255, all, 1));
#else
  const __m256i half = (__m256i)v;
#endif
  const __m128i four = _mm_min_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  const __m128i two = _mm_min_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_min_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
#else
  int32_t best = v[0];
  for (int lane = 1; lane < kLanes; ++lane) best = v[lane] < best ? v[lane] : best;
  return best;
#endif
}

// e to the x, relative error below 2e-7, for x in -87..88; outside that range the value at its border.
static inline Vector exp_of(Vector x) {
  const Vector highest = all_of(88.0f), lowest = all_of(-87.0f);
  x = x > highest ? highest : x;  // NaN compares false and stays
  x = x < lowest ? lowest : x;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, which its low bits hold
  const Vector shifted = x * 1.44269504f + magic;
  const Vector whole = shifted - magic;
  Vector rest = x - whole * 0.693359375f;  // ln 2 in two parts
  rest = rest + whole * 2.12194440e-4f;
  Vector sum = rest * 1.9875691500e-4f + 1.3981999507e-3f;
  sum = sum * rest + 8.3334519073e-3f;
  sum = sum * rest + 4.1665795894e-2f;
  sum = sum * rest + 1.6666665459e-1f;
  sum = sum * rest + 5.0000001201e-1f;
  sum = sum * rest * rest + rest + 1.0f;
  Integers bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127) << 23;  // what magic left in the upper bits is shifted out
  Vector power;
  memcpy(&power, &bits, sizeof power);
  return sum * power;
}

// x / (1 + e^-x). Below -88, where exp_of stops growing, zero is right, and NaN for minus infinity.
static inline Vector silu_of(Vector x) {
  const Vector value = x / (1.0f + exp_of(-x));
  return x < -88.0f ? x * 0.0f : value;
}

// The first and the second half of a0 b0 a1 b1 ...
#if defined(__clang__)
#define TERCELET_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define TERCELET_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Integers{__VA_ARGS__})
#endif
#if defined(__AVX512F__)
static inline Vector low_pairs(Vector a, Vector b) {
  return TERCELET_SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
static inline Vector high_pairs(Vector a, Vector b) {
  return TERCELET_SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
#elif defined(__AVX2__)
static inline Vector low_pairs(Vector a, Vector b) { return TERCELET_SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
static inline Vector high_pairs(Vector a, Vector b) { return TERCELET_SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
#else
static inline Vector low_pairs(Vector a, Vector b) { return TERCELET_SHUFFLE(a, b, 0, 4, 1, 5); }
static inline Vector high_pairs(Vector a, Vector b) { return TERCELET_SHUFFLE(a, b, 2, 6, 3, 7); }
#endif

// A square of kLanes rows becomes its columns: log2(kLanes) perfect shuffles.
static inline void transpose(Vector (&rows)[kLanes]) {
  for (int step = 1; step < kLanes; step *= 2) {
    Vector next[kLanes];
    for (int index = 0; index < kLanes / 2; ++index) {
      next[2 * index] = low_pairs(rows[index], rows[index + kLanes / 2]);
      next[2 * index + 1] = high_pairs(rows[index], rows[index + kLanes / 2]);
    }
    for (int index = 0; index < kLanes; ++index) rows[index] = next[index];
  }
}

}  // namespace TERCELET_SIMD
}  // namespace tercelet
