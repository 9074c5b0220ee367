// The arithmetic of AKConv, once for CPU and GPU: the plain form. cpu.h beside this file is the quick one.
#pragma once

#include "akconv_sample/kernel.h"
#include "tercelet_ops_akconv.h"  // generated from spec.py: Dims, Attributes

namespace tercelet {
namespace akconv {

constexpr int kOutputsAtOnce = 16;

inline akconv_sample::Dims sample_dims(const Dims& d) {
  akconv_sample::Dims s{};
  s.B = d.B, s.C = d.C, s.H = d.H, s.W = d.W, s.N = d.N, s.h = d.h, s.w = d.w;
  return s;
}

inline akconv_sample::Attributes sample_attributes(const Attributes& a) {
  akconv_sample::Attributes s{};
  s.stride = a.strides.size == 2 ? a.strides.value[0] : 0;
  s.grid = a.grid;
  s.taps = a.taps;
  return s;
}

// What the shapes alone do not say; nullptr if all is well.
inline const char* check(const Dims& d, const Attributes& a) {
  if (a.strides.size != 2 || a.strides.value[0] != a.strides.value[1]) return "strides: expected one number twice";
  if (a.pads.size != 4 || a.pads.value[0] != 0 || a.pads.value[2] != 0 || a.pads.value[1] != d.N - 1 ||
      a.pads.value[3] != d.N - 1) {
    return "pads: expected 0, N-1, 0, N-1 for N taps";
  }
  return akconv_sample::check(sample_dims(d), sample_attributes(a));
}

TERCELET_HD float silu_of(float v) { return v / (1.0f + expf(-v)); }

// One item is one place of the output and 16 of its channels.
template <class T>
struct Kernel {
  Dims d;
  Attributes a;
  const T* x;
  const float* offset;
  const T* weight;
  const T* bias;
  T* y;

  TERCELET_HD int64_t groups() const { return (d.O + kOutputsAtOnce - 1) / kOutputsAtOnce; }
  TERCELET_HD int64_t items() const { return d.B * groups() * d.h * d.w; }

  TERCELET_HD void item(int64_t index) const {
    const int64_t j = index % d.w, i = index / d.w % d.h;
    const int64_t first = index / (d.w * d.h) % groups() * kOutputsAtOnce, b = index / (d.w * d.h * groups());
    const int64_t count = d.O - first < kOutputsAtOnce ? d.O - first : kOutputsAtOnce;
    const akconv_sample::Places places{d.N, d.H, d.W, d.h, d.w, a.strides.value[0], a.grid};
    float total[kOutputsAtOnce] = {};
    for (int64_t n = 0; n < d.N; ++n) {
      const akconv_sample::Corners corners =
          akconv_sample::corners_of(places, a.taps.value + 2 * n, offset, b, n, i, j);
      for (int64_t c = 0; c < d.C; ++c) {
        const float value = akconv_sample::sample_of(x + (b * d.C + c) * d.H * d.W, corners);
        const T* const column = weight + (first * d.C + c) * d.N + n;
        for (int64_t o = 0; o < count; ++o) total[o] += value * static_cast<float>(column[o * d.C * d.N]);
      }
    }
    for (int64_t o = 0; o < count; ++o) {
      const float value = total[o] + static_cast<float>(bias[first + o]);
      y[((b * d.O + first + o) * d.h + i) * d.w + j] = static_cast<T>(silu_of(value));
    }
  }
};

}  // namespace akconv
}  // namespace tercelet
