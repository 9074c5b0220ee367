// The vectorised form of FurthestPointSample; see cpu.h. Compiled once for each instruction set.
#include "furthest_point_sample/cpu.h"
#include "vector.h"

namespace tercelet {
namespace furthest_point_sample {
namespace TERCELET_SIMD {

using tercelet::TERCELET_SIMD::all_of;
using tercelet::TERCELET_SIMD::bits_equal;
using tercelet::TERCELET_SIMD::bits_less;
using tercelet::TERCELET_SIMD::Integers;
using tercelet::TERCELET_SIMD::kLanes;
using tercelet::TERCELET_SIMD::lane_numbers;
using tercelet::TERCELET_SIMD::larger;
using tercelet::TERCELET_SIMD::largest_of;
using tercelet::TERCELET_SIMD::load;
using tercelet::TERCELET_SIMD::smaller;
using tercelet::TERCELET_SIMD::smallest_of;
using tercelet::TERCELET_SIMD::store;
using tercelet::TERCELET_SIMD::Vector;

constexpr int32_t kUnknown = -1;  // place of a bucket's furthest point: not looked for
static_assert(kBucket <= 64 && kBucket % kLanes == 0 && kGroup % kLanes == 0, "buckets must divide");

// The key of kernel.h in 31 bits, in the same order, and back.
struct Ranks {
  int64_t block, rounds, ties;

  Ranks(int64_t points, int64_t its_ties)
      : block(block_of(points)), rounds((points + block - 1) / block), ties(its_ties) {}

  static int64_t reversed(int64_t place) {
    int64_t reverse = 0;
    for (int bit = 0; bit < 10; ++bit) reverse = 2 * reverse + (place >> bit & 1);
    return reverse;
  }
  int32_t rank(int64_t index) const {
    return static_cast<int32_t>(ties == kMmcv ? reversed(index % block) * rounds + index / block : index);
  }
  int64_t index(int32_t rank) const {
    return ties == kMmcv ? reversed(rank / rounds) + rank % rounds * block : rank;
  }
};

static bool are_all_finite(const float* numbers, int64_t count) {
  Vector rest{};
  int64_t place = 0;
  for (; place + kLanes <= count; place += kLanes) {
    const Vector number = load(numbers + place);
    rest += number - number;
  }
  float sum = 0.0f;
  for (; place < count; ++place) sum += numbers[place] - numbers[place];
  for (int lane = 0; lane < kLanes; ++lane) sum += rest[lane];
  return sum == 0.0f;
}

// Finite points into m.x, m.y, m.z and m.listed, in the order of their index; how many.
static int64_t list_finite(const Cloud& cloud, const Memory& m) {
  if (are_all_finite(cloud.xyz, 3 * cloud.points)) {  // in loops that become vectors
    for (int64_t k = 0; k < cloud.points; ++k) {
      m.x[k] = cloud.xyz[3 * k], m.y[k] = cloud.xyz[3 * k + 1], m.z[k] = cloud.xyz[3 * k + 2];
    }
    for (int64_t k = 0; k < cloud.points; ++k) m.listed[k] = static_cast<int32_t>(k);
    return cloud.points;
  }
  int64_t count = 0;
  for (int64_t k = 0; k < cloud.points; ++k) {
    const float* const p = cloud.xyz + 3 * k;
    m.x[count] = p[0], m.y[count] = p[1], m.z[count] = p[2];
    m.listed[count] = static_cast<int32_t>(k);
    count += are_finite(p[0], p[1], p[2]) ? 1 : 0;
  }
  return count;
}

// The least and the greatest of numbers; count is not 0.
static void range_of(const float* numbers, int64_t count, float* low, float* high) {
  Vector least = all_of(numbers[0]), most = least;
  int64_t place = 0;
  for (; place + kLanes <= count; place += kLanes) {
    least = smaller(load(numbers + place), least);
    most = larger(load(numbers + place), most);
  }
  *low = -largest_of(-least), *high = largest_of(most);
  for (; place < count; ++place) {
    *low = numbers[place] < *low ? numbers[place] : *low;
    *high = numbers[place] > *high ? numbers[place] : *high;
  }
}

// Cells 0 to 2^bits - 1 along an axis; what is not a number lies in the first.
static inline Integers cells_of(const float* numbers, float low, float scale, int bits) {
  const Vector cell = (load(numbers) - low) * scale;
  const Vector last = all_of(static_cast<float>((1 << bits) - 1));
  return __builtin_convertvector(smaller(larger(cell, Vector{}), last), Integers);
}

// Where cells lie on Hilbert's curve, after J. Skilling, "Programming the Hilbert curve", 2004.
static inline Integers place_on_curve(Integers x, Integers y, Integers z, int bits) {
  for (int bit = bits - 1; bit > 0; --bit) {
    const int32_t below = (1 << bit) - 1;
    x ^= -(x >> bit & 1) & below;
    const Integers y_is_set = -(y >> bit & 1), y_swapped = (x ^ y) & below & ~y_is_set;
    x ^= (y_is_set & below) | y_swapped;
    y ^= y_swapped;
    const Integers z_is_set = -(z >> bit & 1), z_swapped = (x ^ z) & below & ~z_is_set;
    x ^= (z_is_set & below) | z_swapped;
    z ^= z_swapped;
  }
  y ^= x;
  z ^= y;
  Integers turn{};
  for (int bit = bits - 1; bit > 0; --bit) turn ^= -(z >> bit & 1) & ((1 << bit) - 1);
  x ^= turn, y ^= turn, z ^= turn;
  Integers place{};
  for (int bit = bits - 1; bit >= 0; --bit) {
    place = place << 3 | (x >> bit & 1) << 2 | (y >> bit & 1) << 1 | (z >> bit & 1);
  }
  return place;
}

// m.curve: where each cell lies along the curve; cells are counted x first.
static void find_curve(const Memory& m, int bits) {
  const int32_t mask = (1 << bits) - 1;
  for (int32_t cell = 0; cell < 1 << (3 * bits); cell += kLanes) {
    const Integers cells = lane_numbers() + cell;
    store(m.curve + cell, place_on_curve(cells >> (2 * bits), cells >> bits & mask, cells & mask, bits));
  }
}

// m.places: the cells of the listed points.
static void find_cells(const Memory& m, int64_t count, int bits) {
  const float* const planes[3] = {m.x, m.y, m.z};
  float low[3], extent = 0.0f;
  for (int axis = 0; axis < 3; ++axis) {
    float high = 0.0f;
    range_of(planes[axis], count, &low[axis], &high);
    extent = high - low[axis] > extent ? high - low[axis] : extent;
  }
  const float scale = extent > 0.0f ? static_cast<float>(1 << bits) * 0.999f / extent : 0.0f;
  for (int64_t k = 0; k < count; k += kLanes) {
    const Integers x = cells_of(m.x + k, low[0], scale, bits), y = cells_of(m.y + k, low[1], scale, bits);
    store(m.places + k, (x << bits | y) << bits | cells_of(m.z + k, low[2], scale, bits));
  }
}

// m.places: where each of the listed points comes along the curve.
static void sort_by_place(const Memory& m, int64_t count, int bits) {
  const int64_t cells = int64_t{1} << (3 * bits);
  for (int64_t cell = 0; cell < cells; ++cell) m.start[cell] = 0;
  for (int64_t k = 0; k < count; ++k) {
    const int32_t place = m.curve[m.places[k]];
    m.places[k] = place;
    ++m.start[place];
  }
  int32_t end = 0;
  for (int64_t cell = 0; cell < cells; ++cell) {
    const int32_t own = m.start[cell];
    m.start[cell] = end;
    end += own;
  }
  for (int64_t k = 0; k < count; ++k) m.places[k] = m.start[m.places[k]]++;
}

// The boxes of every `size` points, or boxes, that lie one after the other. Those from `filled` to `count` are empty.
static void enclose(const float* const* low, const float* const* high, int64_t size, int64_t filled, int64_t count,
                    const Boxes& boxes) {
  for (int64_t box = 0; box < count; ++box) {
    boxes.largest[box] = box < filled ? kFurthest : kExcluded;
    for (int axis = 0; axis < 3; ++axis) {
      Vector least = all_of(INFINITY), most = all_of(-INFINITY);
      for (int64_t place = box * size; place < (box + 1) * size && box < filled; place += kLanes) {
        least = smaller(load(low[axis] + place), least);
        most = larger(load(high[axis] + place), most);
      }
      boxes.low[axis][box] = -largest_of(-least);
      boxes.high[axis][box] = largest_of(most);
    }
  }
}

// Points in the order of m.places into buckets; returns how many, padded to whole groups.
static int64_t fill_buckets(const Cloud& cloud, const Memory& m, const Ranks& ranks, int64_t count) {
  const int64_t filled = (count + kBucket - 1) / kBucket, buckets = rounded_up(filled, kGroup);
  for (int64_t k = 0; k < count; ++k) {
    const int64_t index = m.listed[k], place = m.places[k];
    const float* const p = cloud.xyz + 3 * index;
    m.x[place] = p[0], m.y[place] = p[1], m.z[place] = p[2];
    m.rank[place] = ranks.rank(index);
  }
  for (int64_t place = 0; place < count; ++place) m.nearest[place] = kFurthest;
  for (int64_t place = count; place < filled * kBucket; ++place) {  // padding repeats the last, and is never taken
    m.x[place] = m.x[count - 1], m.y[place] = m.y[count - 1], m.z[place] = m.z[count - 1];
    m.nearest[place] = kExcluded;
    m.rank[place] = INT32_MAX;
  }
  const float* const planes[3] = {m.x, m.y, m.z};
  enclose(planes, planes, kBucket, filled, buckets, m.buckets);
  enclose(m.buckets.low, m.buckets.high, kGroup, buckets / kGroup, rounded_up(buckets / kGroup, kLanes), m.groups);
  for (int64_t bucket = 0; bucket < buckets; ++bucket) m.first[bucket] = kUnknown;
  return buckets;
}

// A bit for each of up to 64 numbers that equal the wanted one.
static inline uint64_t equal_bits(const float* numbers, int64_t count, Vector wanted) {
  uint64_t bits = 0;
  for (int64_t place = 0; place < count; place += kLanes) {
    bits |= uint64_t{bits_equal(load(numbers + place), wanted)} << place;
  }
  return bits;
}

// The place of a bucket's furthest point: of several that with the first rank.
static inline int32_t first_of(const Memory& m, int64_t bucket, Vector wanted) {
  uint64_t ties = equal_bits(m.nearest + bucket * kBucket, kBucket, wanted);
  int64_t first = bucket * kBucket + __builtin_ctzll(ties);
  for (ties &= ties - 1; ties != 0; ties &= ties - 1) {
    const int64_t place = bucket * kBucket + __builtin_ctzll(ties);
    first = m.rank[place] < m.rank[first] ? place : first;
  }
  return static_cast<int32_t>(first);
}

// The place of the furthest point of all, now that the largest distance is known. That of a bucket is only looked for
// where the bucket may win.
static inline __attribute__((always_inline)) int32_t furthest(const Memory& m, int64_t buckets, Vector wanted) {
  const int64_t groups = buckets / kGroup;
  int32_t first = kUnknown;
  for (int64_t start = 0; start < groups; start += 64) {
    uint64_t tied_groups = equal_bits(m.groups.largest + start, groups - start < 64 ? groups - start : 64, wanted);
    for (; tied_groups != 0; tied_groups &= tied_groups - 1) {
      const int64_t group = start + __builtin_ctzll(tied_groups);
      uint64_t tied = equal_bits(m.buckets.largest + group * kGroup, kGroup, wanted);
      for (; tied != 0; tied &= tied - 1) {
        const int64_t bucket = group * kGroup + __builtin_ctzll(tied);
        if (m.first[bucket] == kUnknown) m.first[bucket] = first_of(m, bucket, wanted);
        if (first == kUnknown || m.rank[m.first[bucket]] < m.rank[first]) first = m.first[bucket];
      }
    }
  }
  return first;
}

struct Point {
  Vector x, y, z;
};

// The distances of one bucket, now that this point is taken; returns the largest.
static inline float update_bucket(const Memory& m, int64_t bucket, const Point& point) {
  const int64_t start = bucket * kBucket;
  Vector most = all_of(kExcluded);
  for (int64_t place = start; place < start + kBucket; place += kLanes) {
    const Vector dx = load(m.x + place) - point.x, dy = load(m.y + place) - point.y, dz = load(m.z + place) - point.z;
    const Vector left = smaller((dx * dx + dy * dy) + dz * dz, load(m.nearest + place));
    store(m.nearest + place, left);
    most = larger(left, most);
  }
  m.first[bucket] = kUnknown;
  return largest_of(most);
}

// A bit for each of kLanes boxes in which the point may change something.
static inline uint32_t near_bits(const Boxes& boxes, int64_t first, const Point& p) {
  const Vector dx = larger(larger(load(boxes.low[0] + first) - p.x, p.x - load(boxes.high[0] + first)), Vector{});
  const Vector dy = larger(larger(load(boxes.low[1] + first) - p.y, p.y - load(boxes.high[1] + first)), Vector{});
  const Vector dz = larger(larger(load(boxes.low[2] + first) - p.z, p.z - load(boxes.high[2] + first)), Vector{});
  // In the steps of squared_distance.
  return bits_less((dx * dx + dy * dy) + dz * dz, load(boxes.largest + first));
}

// update(box), which returns the largest distance in it, for each of kLanes boxes in which the point may change
// something; returns the largest distances. They leave as a whole vector: the next load would wait for single numbers.
template <class Update>
static inline Vector update_boxes(const Boxes& boxes, int64_t first, const Point& p, const Update& update) {
  Vector largest = load(boxes.largest + first);
  for (uint32_t near = near_bits(boxes, first, p); near != 0; near &= near - 1) {
    const int lane = __builtin_ctz(near);
    const float value = update(first + lane);
    largest = lane_numbers() == all_of(static_cast<int32_t>(lane)) ? all_of(value) : largest;
  }
  store(boxes.largest + first, largest);
  return largest;
}

static inline __attribute__((always_inline)) float update_group(const Memory& m, int64_t group, const Point& point) {
  Vector largest = all_of(kExcluded);
  for (int64_t first = group * kGroup; first < (group + 1) * kGroup; first += kLanes) {
    const Vector found = update_boxes(m.buckets, first, point,
                                      [&](int64_t bucket) { return update_bucket(m, bucket, point); });
    largest = larger(found, largest);
  }
  return largest_of(largest);
}

// Returns the largest distance that is left. One loop over all near groups: where it ends is hard to foretell.
static inline __attribute__((always_inline)) float take(const Memory& m, int64_t buckets, int64_t place) {
  const Point point{all_of(m.x[place]), all_of(m.y[place]), all_of(m.z[place])};
  const int64_t groups = buckets / kGroup;
  for (int64_t start = 0; start < groups; start += 64) {
    uint64_t near = 0;
    for (int64_t first = start; first < groups && first < start + 64; first += kLanes) {
      near |= uint64_t{near_bits(m.groups, first, point)} << (first - start);
    }
    for (; near != 0; near &= near - 1) {
      const int64_t group = start + __builtin_ctzll(near);
      m.groups.largest[group] = update_group(m, group, point);
    }
  }
  Vector largest = all_of(kExcluded);
  for (int64_t first = 0; first < groups; first += kLanes) largest = larger(load(m.groups.largest + first), largest);
  return largest_of(largest);
}

static void sample(const Cloud& cloud, const Memory& memory) {
  const Memory m = memory;  // no store through its pointers can change this one
  const int64_t count = list_finite(cloud, m);
  if (count == 0) {
    for (int64_t place = 0; place < cloud.count; ++place) cloud.index[place] = 0;
    return;
  }
  const int bits = bits_for(cloud.points);
  find_curve(m, bits);
  find_cells(m, count, bits);
  sort_by_place(m, count, bits);
  const Ranks ranks(cloud.points, cloud.ties);
  const int64_t buckets = fill_buckets(cloud, m, ranks, count);
  float largest = kFurthest;
  for (int64_t number = 0; number < cloud.count; ++number) {
    const int64_t place = furthest(m, buckets, all_of(largest));
    cloud.index[number] = static_cast<int32_t>(ranks.index(m.rank[place]));
    if (number + 1 < cloud.count) largest = take(m, buckets, place);
  }
}

}  // namespace TERCELET_SIMD

const Variant& TERCELET_VARIANT(TERCELET_SIMD)() {
  static constexpr Variant variant{TERCELET_SIMD::sample};
  return variant;
}

}  // namespace furthest_point_sample
}  // namespace tercelet
