// Which instruction sets the vectorised kernels (cpu.cc) were compiled for, and which of them this CPU runs.
#pragma once

#include <stdlib.h>
#include <string.h>

// For a cpu.h, behind its struct Variant: what its vectorised code has for each instruction set, and which of them is
// for a Simd. The code, compiled once for each, defines its own with TERCELET_VARIANT(TERCELET_SIMD).
#define TERCELET_JOIN(a, b) a##b
#define TERCELET_VARIANT(simd) TERCELET_JOIN(variant_, simd)
#if defined(__x86_64__)
#define TERCELET_VARIANTS                                          \
  const Variant& variant_plain();                                  \
  const Variant& variant_avx2();                                   \
  const Variant& variant_avx512();                                 \
  inline const Variant& variant_of(Simd simd) {                    \
    if (simd == Simd::avx512) return variant_avx512();             \
    return simd == Simd::avx2 ? variant_avx2() : variant_plain();  \
  }
#else
#define TERCELET_VARIANTS         \
  const Variant& variant_plain(); \
  inline const Variant& variant_of(Simd) { return variant_plain(); }
#endif

namespace tercelet {

enum class Simd { plain, avx2, avx512 };  // plain is NEON on aarch64, SSE2 on x86-64

inline const char* name_of(Simd simd) {
  return simd == Simd::avx512 ? "avx512" : simd == Simd::avx2 ? "avx2" : "plain";
}

inline bool runs_here(Simd simd) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (simd == Simd::avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (simd == Simd::avx512) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
  }
#endif
  return simd == Simd::plain;
}

// The best one that runs here; the variable TERCELET_SIMD (plain, avx2, avx512) asks for a lesser one.
inline Simd best_simd() {
  const char* const wanted = getenv("TERCELET_SIMD");
  const Simd better[] = {Simd::avx512, Simd::avx2};
  for (const Simd simd : better) {
    if (runs_here(simd) && (wanted == nullptr || strcmp(wanted, name_of(simd)) == 0)) return simd;
  }
  return Simd::plain;
}

}  // namespace tercelet
