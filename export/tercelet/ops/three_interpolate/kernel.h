// The arithmetic of ThreeInterpolate, once for CPU and GPU: the plain form. cpu.h beside this file is the quick one.
// Semantics: spec.py.
#pragma once

#include "tercelet_ops_three_interpolate.h"  // generated from spec.py: Dims, Attributes

namespace tercelet {
namespace three_interpolate {

constexpr int64_t kSquared = 1;  // index into the choices of the attribute weighting
constexpr int64_t kChannelsAtOnce = 64;

// What the shapes alone do not say; nullptr if all is well.
inline const char* check(const Dims& d, const Attributes&) {
  if (d.m < 1 || d.m > INT32_MAX) return "known: expected 1 to 2147483647 points";
  return nullptr;
}

// The three nearest, sorted; what is missing is infinitely far and has index 0.
struct Nearest {
  float square[3];
  int64_t index[3];
};

// Keeps a point if it is nearer than one of those; of equally near ones the earlier stays first.
TERCELET_HD void insert(float square, int64_t index, Nearest* n) {
  if (!(square < n->square[2])) return;
  int place = 2;
  for (; place > 0 && square < n->square[place - 1]; --place) {
    n->square[place] = n->square[place - 1];
    n->index[place] = n->index[place - 1];
  }
  n->square[place] = square;
  n->index[place] = index;
}

TERCELET_HD Nearest nearest_of(const float* own, const float* known, int64_t count) {
  const float infinity = HUGE_VALF;
  Nearest n{{infinity, infinity, infinity}, {0, 0, 0}};
  for (int64_t k = 0; k < count; ++k) {
    insert(squared_distance(known[3 * k] - own[0], known[3 * k + 1] - own[1], known[3 * k + 2] - own[2]), k, &n);
  }
  return n;
}

TERCELET_HD float inverse_of(float square, int64_t weighting) {
  if (weighting == kSquared) return 1.0f / (square > 1e-10f ? square : 1e-10f);
  return 1.0f / (sqrtf(square) + 1e-8f);
}

struct Weights {
  float of[3];
};

TERCELET_HD Weights weights_of(const Nearest& near, int64_t weighting) {
  Weights weights{};
  for (int place = 0; place < 3; ++place) weights.of[place] = inverse_of(near.square[place], weighting);
  const float total = (weights.of[0] + weights.of[1]) + weights.of[2];
  for (int place = 0; place < 3; ++place) weights.of[place] /= total;
  return weights;
}

// One item is one unknown point and 64 of its channels.
template <class T>
struct Kernel {
  Dims d;
  Attributes a;
  const float* unknown;
  const float* known;
  const T* features;
  T* interpolated;

  TERCELET_HD int64_t groups() const { return (d.C + kChannelsAtOnce - 1) / kChannelsAtOnce; }
  TERCELET_HD int64_t items() const { return d.B * groups() * d.n; }

  TERCELET_HD void item(int64_t index) const {
    const int64_t i = index % d.n, first = index / d.n % groups() * kChannelsAtOnce, b = index / (d.n * groups());
    const int64_t last = d.C - first < kChannelsAtOnce ? d.C : first + kChannelsAtOnce;
    const Nearest near = nearest_of(unknown + (b * d.n + i) * 3, known + b * d.m * 3, d.m);
    const Weights weights = weights_of(near, a.weighting);
    for (int64_t c = first; c < last; ++c) {
      const T* const row = features + (b * d.C + c) * d.m;
      const float sum = (static_cast<float>(row[near.index[0]]) * weights.of[0] +
                         static_cast<float>(row[near.index[1]]) * weights.of[1]) +
                        static_cast<float>(row[near.index[2]]) * weights.of[2];
      interpolated[(b * d.C + c) * d.n + i] = static_cast<T>(sum);
    }
  }
};

}  // namespace three_interpolate
}  // namespace tercelet
