// The arithmetic of BallQuery, once for CPU and GPU: the plain form. cpu.h beside this file is the quick one.
// Semantics: spec.py.
#pragma once

#include "tercelet_ops_ball_query.h"  // generated from spec.py: Dims, Attributes

namespace tercelet {
namespace ball_query {

// What the shapes alone do not say; nullptr if all is well.
inline const char* check(const Dims& d, const Attributes& a) {
  if (!(a.radius > 0.0f && a.radius <= 1e18f)) return "radius: expected more than 0 and at most 1e18";
  if (!(a.min_radius >= 0.0f && a.min_radius <= a.radius)) return "min_radius: expected 0 to the radius";
  if (a.samples < 1 || a.samples > INT32_MAX) return "samples: expected 1 to 2147483647";
  if (d.N < 1 || d.N > INT32_MAX) return "xyz: expected 1 to 2147483647 points";
  return nullptr;
}

// One item is one centre.
template <class T>
struct Kernel {
  Dims d;
  Attributes a;
  const float* xyz;
  const float* centre;
  int32_t* index;

  TERCELET_HD int64_t items() const { return d.B * d.M; }

  TERCELET_HD void item(int64_t item) const {
    const float* const points = xyz + item / d.M * d.N * 3;
    const float* const own = centre + item * 3;
    int32_t* const found = index + item * a.samples;
    const float outer = a.radius * a.radius, inner = a.min_radius * a.min_radius;
    int64_t hits = 0;
    for (int64_t k = 0; k < d.N && hits < a.samples; ++k) {
      const float square =
          squared_distance(points[3 * k] - own[0], points[3 * k + 1] - own[1], points[3 * k + 2] - own[2]);
      if ((square < outer && square >= inner) || square == 0.0f) found[hits++] = static_cast<int32_t>(k);
    }
    const int32_t filling = hits > 0 ? found[0] : 0;
    for (; hits < a.samples; ++hits) found[hits] = filling;
  }
};

}  // namespace ball_query
}  // namespace tercelet
