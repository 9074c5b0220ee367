// FurthestPointSample on a CPU, the quick form: exact, and most points are never looked at again.
//
// Points that lie together are put into buckets, and buckets into groups. Each knows its bounding box and the largest
// of its points' distances. A new point changes nothing where the box is further away than that distance: rounding is
// monotone, so the distance of the box, computed in the same steps, is never above that of a point in it.
#pragma once

#include "furthest_point_sample/kernel.h"
#include "memory.h"
#include "simd.h"

namespace tercelet {
namespace furthest_point_sample {

constexpr int64_t kBucket = 32;          // points of a bucket: a multiple of all lanes
constexpr int64_t kGroup = 16;           // buckets of a group, likewise
constexpr int64_t kFewestPoints = 96;    // below them the plain form is as quick
constexpr int64_t kMostPoints = int64_t{1} << 28;

// One cloud. rank: the order in which points win ties.
struct Cloud {
  const float* xyz;
  int64_t points, count, ties;
  int32_t* index;
};

// Bounding boxes, and the largest distance in each. Empty ones enclose nothing and never are near to anything.
struct Boxes {
  float *low[3], *high[3], *largest;
};

// Memory for one cloud, all of it in 32-bit numbers.
struct Memory {
  float *x, *y, *z, *nearest;                             // by place: bucket by bucket
  int32_t* rank;                                          // by place
  Boxes buckets, groups;
  int32_t* first;                                         // by bucket: the place of its furthest point, or unknown
  int32_t *listed, *places;                               // by point, while they are sorted
  int32_t *start, *curve;                                 // by cell
};

struct Variant {
  void (*sample)(const Cloud&, const Memory&);
};

TERCELET_VARIANTS

// The box of all points has 2^bits cells along each axis: about as many as there are points, as those lie on surfaces.
inline int bits_for(int64_t points) { return points > (1 << 18) ? 6 : points > (1 << 15) ? 5 : points > 1024 ? 4 : 3; }

class Fast {
 public:
  Fast() : variant_(variant_of(best_simd())) {}
  explicit Fast(Simd simd) : variant_(variant_of(simd)) {}

  void prepare(const Attributes&, const Shape*, const void* const*) {}

  // False if the sizes are not for this form; then nothing was written.
  template <class Pool>
  bool run(const Kernel<float>& k, const Pool& pool) {
    if (k.d.N < kFewestPoints || k.d.N > kMostPoints) return false;
    pool.run(k.d.B, [&](int64_t b) {
      const Cloud cloud{k.xyz + b * k.d.N * 3, k.d.N, k.a.count, k.a.ties, k.index + b * k.a.count};
      thread_local Floats memory;
      variant_.sample(cloud, memory_for(cloud, &memory));
    });
    return true;
  }

 private:
  static Memory memory_for(const Cloud& cloud, Floats* floats) {
    const int64_t places = rounded_up(cloud.points, kBucket), buckets = rounded_up(places / kBucket, kGroup);
    const int64_t groups = rounded_up(buckets / kGroup, kGroup);
    const int64_t cells = int64_t{1} << (3 * bits_for(cloud.points));
    float* next = floats->at_least(6 * places + 8 * buckets + 7 * groups + 2 * cells);
    const auto take = [&](int64_t count) {
      float* const taken = next;
      next += count;
      return taken;
    };
    const auto integers = [&](int64_t count) { return reinterpret_cast<int32_t*>(take(count)); };
    const auto boxes = [&](int64_t count) {
      return Boxes{{take(count), take(count), take(count)}, {take(count), take(count), take(count)}, take(count)};
    };
    Memory m{};
    m.x = take(places), m.y = take(places), m.z = take(places), m.nearest = take(places), m.rank = integers(places);
    m.places = integers(places), m.start = integers(cells), m.curve = integers(cells);
    m.listed = reinterpret_cast<int32_t*>(m.nearest);  // no longer needed once those are filled
    m.buckets = boxes(buckets), m.groups = boxes(groups), m.first = integers(buckets);
    return m;
  }

  const Variant& variant_;
};

}  // namespace furthest_point_sample
}  // namespace tercelet
