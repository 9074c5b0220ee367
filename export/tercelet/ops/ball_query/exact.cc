// The vectorised form of BallQuery; see cpu.h. Compiled once for each instruction set.
#include "ball_query/cpu.h"
#include "vector.h"

namespace tercelet {
namespace ball_query {
namespace TERCELET_SIMD {

using tercelet::TERCELET_SIMD::all_of;
using tercelet::TERCELET_SIMD::bits_of;
using tercelet::TERCELET_SIMD::Integers;
using tercelet::TERCELET_SIMD::kLanes;
using tercelet::TERCELET_SIMD::load;
using tercelet::TERCELET_SIMD::Vector;

static_assert(kMostLanes % kLanes == 0, "loads beyond the last point must stay in memory");

// A bit for each point that was hit, and one for each word of 64 of them.
struct Marks {
  uint64_t* points;
  uint64_t* words;

  void set(int32_t index) const {
    points[index >> 6] |= uint64_t{1} << (index & 63);
    words[index >> 12] |= uint64_t{1} << (index >> 6 & 63);
  }

  // The first `most` of them into found, in order; all are cleared. Returns how many were written.
  int64_t take(int64_t points_of_cloud, int64_t most, int32_t* found) const {
    int64_t count = 0;
    for (int64_t group = 0; group <= (points_of_cloud - 1) >> 12; ++group) {
      for (; words[group] != 0; words[group] &= words[group] - 1) {
        const int64_t word = group * 64 + __builtin_ctzll(words[group]);
        for (uint64_t bits = points[word]; bits != 0 && count < most; bits &= bits - 1) {
          found[count++] = static_cast<int32_t>(word * 64 + __builtin_ctzll(bits));
        }
        points[word] = 0;
      }
    }
    return count;
  }
};

// Marks the hits among places [first, last).
static inline void mark_hits(const Grid& grid, const Query& query, const float* centre, int64_t first, int64_t last,
                             const Marks& marks) {
  const Vector x = all_of(centre[0]), y = all_of(centre[1]), z = all_of(centre[2]);
  for (int64_t place = first; place < last; place += kLanes) {
    const Vector dx = load(grid.x + place) - x, dy = load(grid.y + place) - y, dz = load(grid.z + place) - z;
    const Vector square = (dx * dx + dy * dy) + dz * dz;
    const Integers is_within = (square < all_of(query.outer)) & (square >= all_of(query.inner));
    uint32_t hits = bits_of(is_within | (square == Vector{}));
    if (last - place < kLanes) hits &= (uint32_t{1} << (last - place)) - 1;
    for (; hits != 0; hits &= hits - 1) marks.set(grid.order[place + __builtin_ctz(hits)]);
  }
}

static inline int64_t within(int64_t cell, int64_t cells) { return cell < 0 ? 0 : cell > cells ? cells : cell; }

static void find(const Grid& grid, const Query& query, uint64_t* points, uint64_t* words) {
  const Marks marks{points, words};
  for (int64_t number = 0; number < query.count; ++number) {
    const float* const centre = query.centre + 3 * number;
    int64_t first[3], last[3];  // cells that hits may lie in
    for (int axis = 0; axis < 3; ++axis) {
      const int64_t cell = grid.cells[axis] == 1 ? 0 : cell_of(grid, axis, centre[axis]);
      first[axis] = within(cell - 1, grid.cells[axis]), last[axis] = within(cell + 2, grid.cells[axis]);
    }
    for (int64_t row = first[2]; row < last[2]; ++row) {
      for (int64_t column = first[1]; column < last[1]; ++column) {
        const int32_t* const line = grid.start + (row * grid.cells[1] + column) * grid.cells[0];
        if (first[0] < last[0]) mark_hits(grid, query, centre, line[first[0]], line[last[0]], marks);
      }
    }
    int32_t* const found = query.index + number * query.samples;
    const int64_t hits = marks.take(grid.points, query.samples, found);
    const int32_t filling = hits > 0 ? found[0] : 0;
    for (int64_t slot = hits; slot < query.samples; ++slot) found[slot] = filling;
  }
}

}  // namespace TERCELET_SIMD

const Variant& TERCELET_VARIANT(TERCELET_SIMD)() {
  static constexpr Variant variant{TERCELET_SIMD::find};
  return variant;
}

}  // namespace ball_query
}  // namespace tercelet
