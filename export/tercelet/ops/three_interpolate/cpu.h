// ThreeInterpolate on a CPU, the quick form: each search once, whole vectors of known points and of channels at a time.
//
// Features are turned to channels-last once; the sums of some points are made there and turned back.
#pragma once

#include "memory.h"
#include "simd.h"
#include "three_interpolate/kernel.h"

namespace tercelet {
namespace three_interpolate {

constexpr int64_t kPointsAtOnce = 64;
constexpr int64_t kMostLanes = 16;
constexpr int64_t kFewestPairs = 2048;  // below them the plain form is as quick
constexpr int64_t kLargestFloats = int64_t{64} << 20;

// One cloud: known points by axis, padded with NaN to whole vectors, and their features, channels last.
struct Known {
  float *x, *y, *z, *features;
  int64_t points, channels;  // channels: padded to whole vectors
};

// Some unknown points of it. sums: (kPointsAtOnce, channels). pitch: from a channel of the output to the next.
struct Query {
  const float* unknown;
  int64_t count, weighting, channels, pitch;
  float* sums;
  float* interpolated;
};

struct Variant {
  void (*prepare)(const float* known, const float* features, int64_t channels, const Known&);
  void (*interpolate)(const Known&, const Query&);
};

TERCELET_VARIANTS

class Fast {
 public:
  Fast() : variant_(variant_of(best_simd())) {}
  explicit Fast(Simd simd) : variant_(variant_of(simd)) {}

  void prepare(const Attributes&, const Shape*, const void* const*) {}

  // False if the sizes are not for this form; then nothing was written.
  template <class Pool>
  bool run(const Kernel<float>& k, const Pool& pool) {
    const Dims& d = k.d;
    const int64_t channels = rounded_up(d.C, kMostLanes), places = rounded_up(d.m, kMostLanes);
    if (d.C == 0 || d.n * d.m < kFewestPairs || places > kLargestFloats / (channels + 3)) return false;
    Floats memory;
    float* const all = memory.at_least(places * (channels + 3));
    const Known known{all, all + places, all + 2 * places, all + 3 * places, d.m, channels};
    for (int64_t b = 0; b < d.B; ++b) {
      variant_.prepare(k.known + b * d.m * 3, k.features + b * d.C * d.m, d.C, known);
      pool.run((d.n + kPointsAtOnce - 1) / kPointsAtOnce, [&](int64_t piece) {
        const int64_t first = piece * kPointsAtOnce, left = d.n - first;
        thread_local Floats sums;
        const Query query{k.unknown + (b * d.n + first) * 3, left < kPointsAtOnce ? left : kPointsAtOnce,
                          k.a.weighting, d.C, d.n, sums.at_least(kPointsAtOnce * channels),
                          k.interpolated + b * d.C * d.n + first};
        variant_.interpolate(known, query);
      });
    }
    return true;
  }

 private:
  const Variant& variant_;
};

}  // namespace three_interpolate
}  // namespace tercelet
