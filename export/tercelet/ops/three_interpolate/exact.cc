// The vectorised form of ThreeInterpolate; see cpu.h. Compiled once for each instruction set.
#include "three_interpolate/cpu.h"
#include "vector.h"

namespace tercelet {
namespace three_interpolate {
namespace TERCELET_SIMD {

using tercelet::TERCELET_SIMD::all_of;
using tercelet::TERCELET_SIMD::bits_less;
using tercelet::TERCELET_SIMD::kLanes;
using tercelet::TERCELET_SIMD::load;
using tercelet::TERCELET_SIMD::store;
using tercelet::TERCELET_SIMD::transpose;
using tercelet::TERCELET_SIMD::Vector;

static_assert(kMostLanes % kLanes == 0, "vectors must stay in memory");

// to[column * to_pitch + row] = from[row * from_pitch + column].
static void turn(const float* from, int64_t rows, int64_t columns, int64_t from_pitch, float* to, int64_t to_pitch) {
  for (int64_t row = 0; row < rows; row += kLanes) {
    const bool is_whole = row + kLanes <= rows && columns >= kLanes;
    for (int64_t column = 0; is_whole && column < columns; column += kLanes) {
      // The last square overlaps the one before.
      const int64_t start = column + kLanes <= columns ? column : columns - kLanes;
      Vector square[kLanes];
      for (int lane = 0; lane < kLanes; ++lane) square[lane] = load(from + (row + lane) * from_pitch + start);
      transpose(square);
      for (int lane = 0; lane < kLanes; ++lane) store(to + (start + lane) * to_pitch + row, square[lane]);
    }
    const int64_t end = row + kLanes < rows ? row + kLanes : rows;
    for (int64_t single = row; !is_whole && single < end; ++single) {
      for (int64_t column = 0; column < columns; ++column) {
        to[column * to_pitch + single] = from[single * from_pitch + column];
      }
    }
  }
}

static void prepare(const float* points, const float* features, int64_t channels, const Known& known) {
  for (int64_t k = 0; k < rounded_up(known.points, kMostLanes); ++k) {
    const bool is_real = k < known.points;
    known.x[k] = is_real ? points[3 * k] : NAN;
    known.y[k] = is_real ? points[3 * k + 1] : NAN;
    known.z[k] = is_real ? points[3 * k + 2] : NAN;
    float* const row = known.features + k * known.channels;
    for (int64_t c = channels; is_real && c < known.channels; ++c) row[c] = 0.0f;
  }
  turn(features, channels, known.points, known.points, known.features, known.channels);
}

// As nearest_of of kernel.h, which takes every point in turn.
static inline Nearest nearest_among(const Known& known, const float* own) {
  const Vector x = all_of(own[0]), y = all_of(own[1]), z = all_of(own[2]);
  const float infinity = HUGE_VALF;
  Nearest n{{infinity, infinity, infinity}, {0, 0, 0}};
  for (int64_t first = 0; first < known.points; first += kLanes) {
    const Vector dx = load(known.x + first) - x, dy = load(known.y + first) - y, dz = load(known.z + first) - z;
    const Vector square = (dx * dx + dy * dy) + dz * dz;
    for (uint32_t near = bits_less(square, all_of(n.square[2])); near != 0; near &= near - 1) {
      const int lane = __builtin_ctz(near);
      insert(square[lane], first + lane, &n);
    }
  }
  return n;
}

static void interpolate(const Known& known, const Query& query) {
  for (int64_t i = 0; i < query.count; ++i) {
    const Nearest near = nearest_among(known, query.unknown + 3 * i);
    const Weights weights = weights_of(near, query.weighting);
    const float* rows[3];
    for (int place = 0; place < 3; ++place) rows[place] = known.features + near.index[place] * known.channels;
    float* const sums = query.sums + i * known.channels;
    for (int64_t c = 0; c < known.channels; c += kLanes) {
      const Vector pair = load(rows[0] + c) * weights.of[0] + load(rows[1] + c) * weights.of[1];
      store(sums + c, pair + load(rows[2] + c) * weights.of[2]);
    }
  }
  turn(query.sums, query.count, query.channels, known.channels, query.interpolated, query.pitch);
}

}  // namespace TERCELET_SIMD

const Variant& TERCELET_VARIANT(TERCELET_SIMD)() {
  static constexpr Variant variant{TERCELET_SIMD::prepare, TERCELET_SIMD::interpolate};
  return variant;
}

}  // namespace three_interpolate
}  // namespace tercelet
