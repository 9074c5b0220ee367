// BallQuery on a CPU, the quick form: points in the cells of a grid, of which a centre looks at 27.
//
// Cells are a little wider than the radius, so that rounding never puts a hit two cells away. Hits come out cell by
// cell; a bit for each point puts them back into the order of their index.
#pragma once

#include <thread>

#include "ball_query/kernel.h"
#include "memory.h"
#include "simd.h"

namespace tercelet {
namespace ball_query {

constexpr int64_t kFewestPoints = 64;
constexpr int64_t kFewestPairs = int64_t{1} << 13;  // below them the plain form is as quick
constexpr int64_t kMostPoints = int64_t{1} << 28;
constexpr int64_t kMostLanes = 16;
constexpr int64_t kCentresAtOnce = 128;

// A cloud by cells, x first. Points that are not finite lie in none.
struct Grid {
  const float* xyz;
  int64_t points;
  float low[3], scale[3];
  int64_t cells[3];
  int32_t* start;   // by cell, and the end of the last
  float *x, *y, *z;  // by place
  int32_t* order;   // by place: the index of the point
};

// Some centres of a cloud.
struct Query {
  const float* centre;
  int64_t count, samples;
  float outer, inner;  // squares of the radii
  int32_t* index;
};

struct Variant {
  void (*find)(const Grid&, const Query&, uint64_t* marks, uint64_t* summary);
};

TERCELET_VARIANTS

// The cell of a coordinate along an axis, from -2 to one beyond the last but one; NaN: -2. Points lie in 0 to cells - 1.
inline int64_t cell_of(const Grid& grid, int axis, float value) {
  const float cell = (value - grid.low[axis]) * grid.scale[axis];
  const float most = static_cast<float>(grid.cells[axis] + 1);
  return cell >= most ? grid.cells[axis] + 1 : cell >= 0.0f ? static_cast<int64_t>(cell) : cell >= -1.0f ? -1 : -2;
}

class Fast {
 public:
  Fast() : variant_(variant_of(best_simd())) {}
  explicit Fast(Simd simd) : variant_(variant_of(simd)) {}

  void prepare(const Attributes&, const Shape*, const void* const*) {}

  // False if the sizes are not for this form; then nothing was written.
  template <class Pool>
  bool run(const Kernel<float>& k, const Pool& pool) {
    const Dims& d = k.d;
    if (d.N < kFewestPoints || d.N > kMostPoints || d.N * d.M < kFewestPairs) return false;
    const int64_t pieces = (d.M + kCentresAtOnce - 1) / kCentresAtOnce;
    const int64_t words = (d.N + 63) / 64, summary = (words + 63) / 64;
    Floats memory;
    for (int64_t b = 0; b < d.B; ++b) {
      const Grid grid = built(k.xyz + b * d.N * 3, d.N, k.a.radius, &memory);
      pool.run(pieces, [&](int64_t piece) {
        const int64_t first = b * d.M + piece * kCentresAtOnce, left = d.M - piece * kCentresAtOnce;
        Query query{k.centre + 3 * first, left < kCentresAtOnce ? left : kCentresAtOnce, k.a.samples,
                    k.a.radius * k.a.radius, k.a.min_radius * k.a.min_radius, k.index + first * k.a.samples};
        thread_local Floats marks;
        uint64_t* const bits = reinterpret_cast<uint64_t*>(marks.at_least(2 * (words + summary)));
        for (int64_t word = 0; word < words + summary; ++word) bits[word] = 0;
        variant_.find(grid, query, bits, bits + words);
      });
    }
    return true;
  }

 private:
  static bool is_finite(const float* p) { return are_finite(p[0], p[1], p[2]); }

  static Grid built(const float* xyz, int64_t points, float radius, Floats* memory) {
    Grid grid{};
    grid.xyz = xyz, grid.points = points;
    const int64_t cells = choose_cells(&grid, radius);
    const int64_t places = rounded_up(points, kMostLanes) + kMostLanes;
    float* const all = memory->at_least(5 * places + rounded_up(cells + 1, kMostLanes));
    grid.x = all, grid.y = all + places, grid.z = all + 2 * places;
    grid.order = reinterpret_cast<int32_t*>(all + 3 * places);
    grid.start = reinterpret_cast<int32_t*>(all + 5 * places);
    fill(grid, cells, places, reinterpret_cast<int32_t*>(all + 4 * places));
    return grid;
  }

  // Widens the cells until there are no more than points want; returns how many there are.
  static int64_t choose_cells(Grid* grid, float radius) {
    float high[3] = {};
    bool is_empty = true;
    for (int64_t k = 0; k < grid->points; ++k) {
      const float* const p = grid->xyz + 3 * k;
      if (!is_finite(p)) continue;
      for (int axis = 0; axis < 3; ++axis) {
        grid->low[axis] = is_empty || p[axis] < grid->low[axis] ? p[axis] : grid->low[axis];
        high[axis] = is_empty || p[axis] > high[axis] ? p[axis] : high[axis];
      }
      is_empty = false;
    }
    constexpr double kSlack = 1.001, kLeast = 1e-18, kMostAlongAxis = 1000;
    const double most = 2.0 * static_cast<double>(grid->points) + 64;
    for (double edge = radius * kSlack > kLeast ? radius * kSlack : kLeast;; edge *= 1.25) {
      double total = 1;
      bool is_fine = true;
      for (int axis = 0; axis < 3; ++axis) {
        // Differences beyond float32 cannot be told apart: one cell.
        const bool is_sane = high[axis] - grid->low[axis] <= 3.4e38f;
        const double along = is_sane ? (static_cast<double>(high[axis]) - grid->low[axis]) / edge + 1 : 1;
        is_fine = is_fine && along <= kMostAlongAxis;
        total *= static_cast<double>(grid->cells[axis] = is_fine ? static_cast<int64_t>(along) : 1);
        grid->scale[axis] = static_cast<float>(1 / edge);
      }
      if (is_fine && total <= most) return static_cast<int64_t>(total);
    }
  }

  // The number of a point's cell, -1 for none.
  static int64_t number_of(const Grid& grid, const float* p) {
    if (!is_finite(p)) return -1;
    int64_t number = 0;
    for (int axis = 2; axis >= 0; --axis) {
      const int64_t cell = cell_of(grid, axis, p[axis]), last = grid.cells[axis] - 1;
      number = number * grid.cells[axis] + (cell < 0 ? 0 : cell > last ? last : cell);
    }
    return number;
  }

  // Sorts by cell and keeps the order of the indices within each. numbers: room for the cell of each point.
  static void fill(const Grid& grid, int64_t cells, int64_t places, int32_t* numbers) {
    for (int64_t cell = 0; cell <= cells; ++cell) grid.start[cell] = 0;
    int32_t left_out = 0;
    for (int64_t k = 0; k < grid.points; ++k) {
      const int64_t number = number_of(grid, grid.xyz + 3 * k);
      numbers[k] = static_cast<int32_t>(number);
      if (number >= 0) ++grid.start[number];
      left_out += number < 0 ? 1 : 0;
    }
    int32_t end = 0;  // start holds the ends of the cells, and is counted down to their starts
    for (int64_t cell = 0; cell < cells; ++cell) end = grid.start[cell] += end;
    grid.start[cells] = end;
    for (int64_t k = grid.points - 1; k >= 0; --k) {
      const float* const p = grid.xyz + 3 * k;
      const int32_t number = numbers[k];
      if (number < 0) continue;
      const int32_t place = --grid.start[number];
      grid.x[place] = p[0], grid.y[place] = p[1], grid.z[place] = p[2];
      grid.order[place] = static_cast<int32_t>(k);
    }
    for (int64_t place = grid.points - left_out; place < places; ++place) {  // loads of whole vectors read these
      grid.x[place] = grid.y[place] = grid.z[place] = 0.0f;
      grid.order[place] = 0;
    }
  }

  const Variant& variant_;
};

}  // namespace ball_query
}  // namespace tercelet
