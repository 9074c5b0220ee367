// The arithmetic of FurthestPointSample, once for CPU and GPU: the plain form. exact.h beside this file is the quick
// one. Semantics: spec.py.
#pragma once

#include "tercelet_ops_furthest_point_sample.h"  // generated from spec.py: Dims, Attributes

namespace tercelet {
namespace furthest_point_sample {

constexpr int64_t kMmcv = 1;  // index into the choices of the attribute ties
constexpr float kFurthest = 1e10f, kExcluded = -1.0f;

// What the shapes alone do not say; nullptr if all is well.
inline const char* check(const Dims& d, const Attributes& a) {
  if (a.count < 1 || a.count > INT32_MAX) return "count: expected 1 to 2147483647";
  if (d.N < 1 || d.N > INT32_MAX) return "xyz: expected 1 to 2147483647 points";
  return nullptr;
}

// Threads of mmcv's kernel: the largest power of two up to N and 1024.
TERCELET_HD int64_t block_of(int64_t points) {
  int64_t block = 1;
  while (block * 2 <= points && block < 1024) block *= 2;
  return block;
}

// Of equally far points that with the smallest key wins. The lower 32 bits are its index.
TERCELET_HD int64_t key_of(int64_t index, int64_t block, int64_t ties) {
  if (ties != kMmcv) return index;
  int64_t reverse = 0;
  for (int64_t bit = 1, place = index % block; bit < 1024; bit *= 2, place /= 2) reverse = 2 * reverse + place % 2;
  return reverse << 32 | index;
}

// One item is a cloud.
template <class T>
struct Kernel {
  static constexpr bool kIsForTeams = true;
  Dims d;
  Attributes a;
  const float* xyz;
  int32_t* index;
  float* scratch;  // (B, N): squared distance from the nearest point taken

  TERCELET_HD int64_t items() const { return d.B; }
  TERCELET_HD void item(int64_t b) const { item(b, SoloTeam{}); }

  template <class Team>
  TERCELET_HD void item(int64_t b, const Team& team) const {
    const float* const points = xyz + b * d.N * 3;
    float* const nearest = scratch + b * d.N;
    const int64_t block = block_of(d.N);
    Candidate mine{kExcluded, INT64_MAX};
    for (int64_t k = team.rank(); k < d.N; k += team.size()) {
      nearest[k] = are_finite(points[3 * k], points[3 * k + 1], points[3 * k + 2]) ? kFurthest : kExcluded;
      const Candidate other{nearest[k], key_of(k, block, a.ties)};
      if (is_better(other, mine)) mine = other;
    }
    for (int64_t place = 0;; ++place) {
      const int64_t taken = team.best(mine).key & INT32_MAX;
      if (team.rank() == 0) index[b * a.count + place] = static_cast<int32_t>(taken);
      if (place + 1 == a.count) return;
      const float x = points[3 * taken], y = points[3 * taken + 1], z = points[3 * taken + 2];
      mine = Candidate{kExcluded, INT64_MAX};
      for (int64_t k = team.rank(); k < d.N; k += team.size()) {
        if (nearest[k] != kExcluded) {
          const float square = squared_distance(points[3 * k] - x, points[3 * k + 1] - y, points[3 * k + 2] - z);
          if (square < nearest[k]) nearest[k] = square;
        }
        if (nearest[k] < mine.value) continue;
        const Candidate other{nearest[k], key_of(k, block, a.ties)};
        if (is_better(other, mine)) mine = other;
      }
    }
  }
};

}  // namespace furthest_point_sample
}  // namespace tercelet
