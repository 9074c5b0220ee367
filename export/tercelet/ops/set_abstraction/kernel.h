// The arithmetic of SetAbstraction, once for CPU and GPU: the plain form. cpu.h beside this file is the quick one.
// Semantics: spec.py.
#pragma once

#include "tercelet_ops_set_abstraction.h"  // generated from spec.py: Dims, Attributes

namespace tercelet {
namespace set_abstraction {

constexpr int64_t kMostChannels = 1024;

// What the shapes alone do not say; nullptr if all is well.
inline const char* check(const Dims& d, const Attributes& a) {
  if (!(a.radius > 0.0f && a.radius <= 1e18f)) return "radius: expected more than 0 and at most 1e18";
  if (d.N < 1 || d.N > INT32_MAX) return "points: expected 1 to 2147483647 points";
  if (d.S < 1 || d.S > INT32_MAX) return "index: expected 1 to 2147483647 slots";
  if (d.F < 1) return "features: expected at least one channel";
  if (d.K < 4 || d.K - 3 != d.F) return "weight0: expected 3 + F inputs";
  if (d.C < 1 || d.C > kMostChannels) return "weight0: expected 1 to 1024 outputs";
  if (d.D < 1 || d.D > kMostChannels) return "weight1: expected 1 to 1024 outputs";
  if (d.O < 1 || d.O > kMostChannels) return "weight2: expected 1 to 1024 outputs";
  return nullptr;
}

// NaN stays.
TERCELET_HD float relu_of(float v) { return v < 0.0f ? 0.0f : v; }
TERCELET_HD float larger_of(float a, float b) { return a >= b || a != a ? a : b; }

// Slots before the copies of the first that fill up the rest.
TERCELET_HD int64_t used_slots(const int32_t* slots, int64_t count) {
  while (count > 1 && slots[count - 1] == slots[0]) --count;
  return count;
}

TERCELET_HD int64_t index_within(int32_t index, int64_t points) {
  return index < 0 ? 0 : index < points ? index : points - 1;
}

// One item is one centre. GPUs do better with the standard operators of body.py.
template <class T>
struct Kernel {
  Dims d;
  Attributes a;
  const float* points;
  const float* centre;
  const int32_t* index;
  const T* features;
  const T* weight0;
  const T* bias0;
  const T* weight1;
  const T* bias1;
  const T* weight2;
  const T* bias2;
  T* y;
  float* scratch;  // (B, N, C): the first layer of each point, in the quick form

  TERCELET_HD int64_t items() const { return d.B * d.M; }

  TERCELET_HD void item(int64_t place) const {
    const int64_t b = place / d.M, m = place % d.M;
    const int32_t* const slots = index + place * d.S;
    const int64_t used = used_slots(slots, d.S);
    float first[kMostChannels], second[kMostChannels], best[kMostChannels];
    for (int64_t s = 0; s < used; ++s) {
      first_layer(b, place, index_within(slots[s], d.N), first);
      for (int64_t o = 0; o < d.D; ++o) second[o] = relu_of(product(weight1 + o * d.C, first, d.C) + number(bias1[o]));
      for (int64_t o = 0; o < d.O; ++o) {
        const float value = relu_of(product(weight2 + o * d.D, second, d.D) + number(bias2[o]));
        best[o] = s == 0 ? value : larger_of(best[o], value);
      }
    }
    for (int64_t o = 0; o < d.O; ++o) y[(b * d.O + o) * d.M + m] = static_cast<T>(best[o]);
  }

 private:
  TERCELET_HD static float number(T value) { return static_cast<float>(value); }

  TERCELET_HD static float product(const T* weight, const float* row, int64_t count) {
    float sum = 0.0f;
    for (int64_t c = 0; c < count; ++c) sum += number(weight[c]) * row[c];
    return sum;
  }

  TERCELET_HD void first_layer(int64_t b, int64_t place, int64_t n, float* out) const {
    float offset[3];
    for (int axis = 0; axis < 3; ++axis) {
      offset[axis] = (points[(b * d.N + n) * 3 + axis] - centre[place * 3 + axis]) / a.radius;
    }
    for (int64_t o = 0; o < d.C; ++o) {
      const T* const weight = weight0 + o * d.K;
      float sum = number(bias0[o]) + product(weight, offset, 3);
      for (int64_t f = 0; f < d.F; ++f) sum += number(weight[3 + f]) * number(features[(b * d.F + f) * d.N + n]);
      out[o] = relu_of(sum);
    }
  }
};

}  // namespace set_abstraction
}  // namespace tercelet
