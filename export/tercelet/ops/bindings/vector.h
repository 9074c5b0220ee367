// Vectors of floats as the compiler's own vector types: one source for AVX-512, AVX2, SSE2 and NEON.
//
// Everything here is inline and lies in a namespace of its own for each instruction set, so that no function
// compiled for a newer set can be linked in place of one for an older.
#pragma once

#include <stdint.h>
#include <string.h>

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

static inline Vector all_of(float value) { return value - Vector{}; }

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
