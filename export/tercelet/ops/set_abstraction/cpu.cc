// The vectorised code of SetAbstraction, compiled once for each instruction set. See cpu.h.
#include "set_abstraction/cpu.h"

#include "vector.h"

namespace tercelet {
namespace set_abstraction {
namespace TERCELET_SIMD {

using tercelet::TERCELET_SIMD::all_of;
using tercelet::TERCELET_SIMD::kLanes;
using tercelet::TERCELET_SIMD::load;
using tercelet::TERCELET_SIMD::store;
using tercelet::TERCELET_SIMD::Vector;

// The register tile: kRows rows times kVectors vectors of outputs, sums of all in registers.
#if defined(__AVX512F__)
constexpr int kRows = 12, kVectors = 2;
#elif defined(__ARM_NEON)
constexpr int kRows = 6, kVectors = 4;
#else
constexpr int kRows = 6, kVectors = 2;
#endif
static_assert(kRows <= kMostRows && kPointsAtOnce % kRows == 0, "tiles must divide");

// NaN stays in both.
static inline Vector relu_of(Vector v) { return v < Vector{} ? Vector{} : v; }
static inline Vector larger_of(Vector a, Vector b) {
  const Vector larger = a >= b ? a : b;
  return a != a ? a : larger;
}

// Rows of numbers: number c of row r lies at from[r * row_step + c * step].
struct Rows {
  const float* from;
  int64_t row_step, step;
};

// kRows rows times kCount vectors of outputs, bias first (nullptr: none), to out, whose rows have `outputs` numbers.
template <bool kIsRectified, int kCount>
static inline __attribute__((always_inline)) void multiply(const Rows& rows, const float* weight, int64_t inputs,
                                                           const float* bias, float* out, int64_t outputs) {
  Vector sum[kRows][kCount];
  for (int v = 0; v < kCount; ++v) {
    const Vector start = bias == nullptr ? Vector{} : load(bias + v * kLanes);
    for (int r = 0; r < kRows; ++r) sum[r][v] = start;
  }
  for (int64_t c = 0; c < inputs; ++c) {
    Vector w[kCount];
    for (int v = 0; v < kCount; ++v) w[v] = load(weight + (v * inputs + c) * kLanes);
    const float* const column = rows.from + c * rows.step;
    for (int r = 0; r < kRows; ++r) {
      const Vector number = all_of(column[r * rows.row_step]);
      for (int v = 0; v < kCount; ++v) sum[r][v] += number * w[v];
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kCount; ++v) {
      store(out + r * outputs + v * kLanes, kIsRectified ? relu_of(sum[r][v]) : sum[r][v]);
    }
  }
}

template <bool kIsRectified>
static void apply_layer(const Rows& rows, const float* weight, int64_t inputs, const float* bias, float* out,
                        int64_t outputs) {
  constexpr int64_t block = kVectors * kLanes;
  int64_t o = 0;
  for (; o + block <= outputs; o += block) {
    multiply<kIsRectified, kVectors>(rows, weight + o * inputs, inputs, bias ? bias + o : nullptr, out + o, outputs);
  }
  for (; o < outputs; o += kLanes) {
    multiply<kIsRectified, 1>(rows, weight + o * inputs, inputs, bias ? bias + o : nullptr, out + o, outputs);
  }
}

// The features' share of the first layer, bias included, of points [first, last).
static void fill_table(const Cloud& cloud, int64_t first, int64_t last) {
  const Dims& d = cloud.d;
  for (int64_t n = first; n < last; n += kRows) {
    if (n + kRows <= last) {
      apply_layer<false>({cloud.features + n, 1, d.N}, cloud.packed.first, d.F, cloud.packed.bias0,
                         cloud.table + n * d.C, d.C);
      continue;
    }
    float rows[kRows * kMostChannels];  // the last ones again, of which some belong to another piece
    const int64_t start = d.N - kRows;
    apply_layer<false>({cloud.features + start, 1, d.N}, cloud.packed.first, d.F, cloud.packed.bias0, rows, d.C);
    memcpy(cloud.table + n * d.C, rows + (n - start) * d.C, static_cast<size_t>((last - n) * d.C) * sizeof(float));
  }
}

// Rows on their way, up to kRows of them.
struct Tile {
  float *first, *second, *third;  // (kRows, C), (kRows, D), (kRows, O)
  float* largest;                 // (centres, O)
  int64_t count = 0;
  float* owner[kRows];  // the row of `largest`
  bool is_first[kRows];  // that it has had none before
};

static void start_row(const Cloud& cloud, int64_t n, const float* centre, float* row) {
  const float* const point = cloud.points + 3 * n;
  const int64_t channels = cloud.d.C;
  const float* const table = cloud.table + n * channels;
  const float* const places = cloud.packed.places;
  const Vector x = all_of((point[0] - centre[0]) / cloud.radius), y = all_of((point[1] - centre[1]) / cloud.radius);
  const Vector z = all_of((point[2] - centre[2]) / cloud.radius);
  for (int64_t c = 0; c < channels; c += kLanes) {
    const Vector placed = x * load(places + c) + y * load(places + channels + c) + z * load(places + 2 * channels + c);
    store(row + c, relu_of(placed + load(table + c)));
  }
}

static void finish_tile(const Cloud& cloud, Tile* tile) {
  const Dims& d = cloud.d;
  apply_layer<true>({tile->first, d.C, 1}, cloud.packed.second, d.C, cloud.packed.bias1, tile->second, d.D);
  apply_layer<false>({tile->second, d.D, 1}, cloud.packed.third, d.D, nullptr, tile->third, d.O);
  for (int64_t r = 0; r < tile->count; ++r) {
    float* const largest = tile->owner[r];
    const float* const row = tile->third + r * d.O;
    for (int64_t o = 0; o < d.O; o += kLanes) {
      const Vector value = load(row + o);
      store(largest + o, tile->is_first[r] ? value : larger_of(load(largest + o), value));
    }
  }
  tile->count = 0;
}

// Centres [first, last). The last bias and the last ReLU wait until the largest is known: they keep the order.
static void find_largest(const Cloud& cloud, float* scratch, int64_t first, int64_t last) {
  const Dims& d = cloud.d;
  Tile tile{};
  tile.first = scratch, tile.second = tile.first + kMostRows * d.C, tile.third = tile.second + kMostRows * d.D;
  tile.largest = tile.third + kMostRows * d.O;
  for (int64_t place = 0; place < kMostRows * d.C; ++place) tile.first[place] = 0.0f;  // a last tile is not full
  for (int64_t m = first; m < last; ++m) {
    const int32_t* const slots = cloud.index + m * d.S;
    const int64_t used = used_slots(slots, d.S);
    for (int64_t s = 0; s < used; ++s) {
      start_row(cloud, index_within(slots[s], d.N), cloud.centre + 3 * m, tile.first + tile.count * d.C);
      tile.owner[tile.count] = tile.largest + (m - first) * d.O;
      tile.is_first[tile.count] = s == 0;
      if (++tile.count == kRows) finish_tile(cloud, &tile);
    }
  }
  if (tile.count > 0) finish_tile(cloud, &tile);
  for (int64_t o = 0; o < d.O; ++o) {
    const float bias = cloud.packed.bias2[o];
    for (int64_t m = first; m < last; ++m) {
      cloud.y[o * d.M + m] = set_abstraction::relu_of(tile.largest[(m - first) * d.O + o] + bias);
    }
  }
}

}  // namespace TERCELET_SIMD

const Variant& TERCELET_VARIANT(TERCELET_SIMD)() {
  static constexpr Variant variant{TERCELET_SIMD::kLanes, TERCELET_SIMD::fill_table, TERCELET_SIMD::find_largest};
  return variant;
}

}  // namespace set_abstraction
}  // namespace tercelet
