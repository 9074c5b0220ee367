// The vectorised code of AKConv, compiled once for each instruction set. See cpu.h.
#include "akconv/cpu.h"

#include "vector.h"

namespace tercelet {
namespace akconv {
namespace TERCELET_SIMD {

using tercelet::TERCELET_SIMD::kLanes;
using tercelet::TERCELET_SIMD::load;
using tercelet::TERCELET_SIMD::silu_of;
using tercelet::TERCELET_SIMD::store;
using tercelet::TERCELET_SIMD::transpose;
using tercelet::TERCELET_SIMD::Vector;

// The register tile: kRows pixels times kBlock outputs, sums of all in registers.
#if defined(__AVX512F__)
constexpr int kRows = 12, kVectors = 2;
#elif defined(__ARM_NEON)
constexpr int kRows = 6, kVectors = 4;
#else
constexpr int kRows = 6, kVectors = 2;
#endif
constexpr int kBlock = kVectors * kLanes;
static_assert(kTile % kRows == 0 && kTile % kLanes == 0 && kBlock % kLanes == 0, "tiles must divide");

// Rows [low, high) of the map are in the window, row r in slot r modulo the window's rows.
struct Loaded {
  int64_t low = 0, high = 0;
};

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// One row of the map, channels-last, into its slot; channels beyond C are zero.
static void load_row(const Call& call, const Scratch& scratch, int64_t image, int64_t row) {
  const Dims& d = call.d;
  const int64_t plane = d.H * d.W, channels = call.channels;
  const float* const from = call.x + (image * d.C * d.H + row) * d.W;
  float* const to = scratch.window + row % call.window_rows * d.W * channels;
  for (int64_t c = 0; c < channels; c += kLanes) {
    const int64_t count = smaller(kLanes, d.C - c);
    int64_t first = 0;
    if (count == kLanes && d.W >= kLanes) {
      for (int64_t column = 0; column < d.W; column += kLanes) {
        const int64_t start = smaller(column, d.W - kLanes);  // the last square overlaps the one before
        Vector square[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) square[lane] = load(from + (c + lane) * plane + start);
        transpose(square);
        for (int lane = 0; lane < kLanes; ++lane) store(to + (start + lane) * channels + c, square[lane]);
      }
      first = d.W;
    }
    for (int64_t column = first; column < d.W; ++column) {
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        to[column * channels + c + lane] = lane < count ? from[(c + lane) * plane + column] : 0.0f;
      }
    }
  }
}

// Move the window so that it holds rows [low, high), at most as many as it has.
static void move_window(const Call& call, const Scratch& scratch, int64_t image, int64_t low, int64_t high,
                        Loaded* loaded) {
  const bool overlaps = low < loaded->high && high > loaded->low;
  if (!overlaps) loaded->low = loaded->high = low;
  for (int64_t row = low; row < loaded->low; ++row) load_row(call, scratch, image, row);
  for (int64_t row = loaded->high; row < high; ++row) load_row(call, scratch, image, row);
  // Rows that are still there stay known, as far as their slots were not taken.
  const int64_t lowest = smaller(low, loaded->low), highest = larger(high, loaded->high);
  loaded->low = smaller(low, larger(lowest, highest - call.window_rows));
  loaded->high = smaller(highest, loaded->low + call.window_rows);
}

// The rows that output rows [first, last) read, cut to what the window can hold around where taps lie.
static Loaded rows_needed(const Call& call, int64_t image, int64_t first, int64_t last) {
  const Dims& d = call.d;
  if (call.window_rows == d.H && call.rows_at_once == d.h && call.grid == akconv_sample::kGridXY) return {0, d.H};
  float lowest = static_cast<float>(d.H), highest = 0.0f;
  int64_t lowest_base = d.H, highest_base = 0;
  for (int64_t n = 0; n < d.N; ++n) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t base = i * call.stride + call.taps[2 * n];
      lowest_base = smaller(lowest_base, base);
      highest_base = larger(highest_base, base);
      const float* const offset = call.offset + ((image * 2 * d.N + n) * d.h + i) * d.w;
      Vector low = lowest - Vector{}, high = highest - Vector{};
      int64_t j = 0;
      for (; j + kLanes <= d.w; j += kLanes) {
        const Vector row = load(offset + j) + static_cast<float>(base);
        low = row < low ? row : low;
        high = row > high ? row : high;
      }
      for (int lane = 0; lane < kLanes; ++lane) {
        lowest = low[lane] < lowest ? low[lane] : lowest;
        highest = high[lane] > highest ? high[lane] : highest;
      }
      for (; j < d.w; ++j) {
        const float row = offset[j] + static_cast<float>(base);
        lowest = row < lowest ? row : lowest;
        highest = row > highest ? row : highest;
      }
    }
  }
  const float bottom = static_cast<float>(d.H - 1);
  lowest = lowest < 0.0f ? 0.0f : lowest > bottom ? bottom : lowest;
  highest = highest < 0.0f ? 0.0f : highest > bottom ? bottom : highest;
  Loaded needed;
  needed.low = static_cast<int64_t>(lowest);
  needed.high = smaller(d.H, larger(static_cast<int64_t>(highest), needed.low) + 2);
  if (needed.high - needed.low > call.window_rows) {
    // Some offsets reach far. The window stays where most samples are, spare rows on both sides.
    const int64_t spare = call.window_rows - (highest_base - lowest_base + 2);
    needed.low = larger(0, smaller(lowest_base - larger(spare, 0) / 2, d.H - call.window_rows));
    needed.high = needed.low + call.window_rows;
  }
  return needed;
}

// Where the samples of a tile lie: for tap n and pixel p, four places in the window, weights, and whether the window
// lacks them.
struct Tile {
  int64_t image, first, count;  // pixels of the output, row by row
  int32_t base_row[kTile], base_column[kTile];
};

static void start_tile(const Call& call, Tile* tile) {
  int64_t i = tile->first / call.d.w, j = tile->first % call.d.w;
  for (int64_t p = 0; p < kTile; ++p) {
    int64_t row = i * call.stride, column = j * call.stride;
    if (call.grid == akconv_sample::kGridXY) {
      const int64_t place = i * call.d.w + j;
      row = place % call.d.h * call.stride;
      column = place / call.d.h * call.stride;
    }
    tile->base_row[p] = static_cast<int32_t>(row);
    tile->base_column[p] = static_cast<int32_t>(column);
    if (p + 1 < tile->count && ++j == call.d.w) j = 0, ++i;
  }
}

static inline int32_t* places_of(const Scratch& scratch, int64_t n, int part) {
  return scratch.places + (5 * n + part) * kTile;
}

static inline float* weights_of(const Scratch& scratch, int64_t n, int part) {
  return scratch.weights + (4 * n + part) * kTile;
}

// True if the window lacks some sample of tap n.
static bool locate_samples(const Call& call, const Scratch& scratch, const Tile& tile, const Loaded& loaded, int64_t n) {
  const Dims& d = call.d;
  float row_offset[kTile] = {}, column_offset[kTile] = {};
  const float* const rows = call.offset + (tile.image * 2 * d.N + n) * d.h * d.w + tile.first;
  memcpy(row_offset, rows, static_cast<size_t>(tile.count) * sizeof(float));
  memcpy(column_offset, rows + d.N * d.h * d.w, static_cast<size_t>(tile.count) * sizeof(float));
  const int32_t height = static_cast<int32_t>(d.H), width = static_cast<int32_t>(d.W);
  const int32_t low = static_cast<int32_t>(loaded.low), high = static_cast<int32_t>(loaded.high) - 1;
  const int32_t window_rows = static_cast<int32_t>(call.window_rows), slot = low % window_rows;
  const int32_t tap_row = call.taps[2 * n], tap_column = call.taps[2 * n + 1];
  const int32_t pitch = static_cast<int32_t>(call.channels);
  int32_t *const top_left = places_of(scratch, n, 0), *const top_right = places_of(scratch, n, 1);
  int32_t *const bottom_left = places_of(scratch, n, 2), *const bottom_right = places_of(scratch, n, 3);
  int32_t* const is_lacking = places_of(scratch, n, 4);
  float *const of_top_left = weights_of(scratch, n, 0), *const of_top_right = weights_of(scratch, n, 1);
  float *const of_bottom_left = weights_of(scratch, n, 2), *const of_bottom_right = weights_of(scratch, n, 3);
  int32_t lacking = 0;
  for (int64_t p = 0; p < kTile; ++p) {
    const akconv_sample::Axis y =
        akconv_sample::axis_of(row_offset[p] + static_cast<float>(tile.base_row[p] + tap_row), height);
    const akconv_sample::Axis x =
        akconv_sample::axis_of(column_offset[p] + static_cast<float>(tile.base_column[p] + tap_column), width);
    const int32_t is_out = (y.low < low ? 1 : 0) | (y.high > high ? 1 : 0);
    int32_t top = (is_out ? low : y.low) - low + slot, bottom = (is_out ? low : y.high) - low + slot;
    top -= top >= window_rows ? window_rows : 0;
    bottom -= bottom >= window_rows ? window_rows : 0;
    top_left[p] = (top * width + x.low) * pitch;
    top_right[p] = (top * width + x.high) * pitch;
    bottom_left[p] = (bottom * width + x.low) * pitch;
    bottom_right[p] = (bottom * width + x.high) * pitch;
    of_top_left[p] = y.of_low * x.of_low;
    of_top_right[p] = y.of_low * x.of_high;
    of_bottom_left[p] = y.of_high * x.of_low;
    of_bottom_right[p] = y.of_high * x.of_high;
    is_lacking[p] = is_out;
    lacking |= is_out;
  }
  return lacking != 0;
}

// Samples of tap n from the window into the rows of pixels.
static void take_samples(const Call& call, const Scratch& scratch, const Tile& tile, int64_t n) {
  const int64_t channels = call.channels, depth = call.d.N * channels;
  for (int64_t p = 0; p < tile.count; ++p) {
    const float* const top_left = scratch.window + places_of(scratch, n, 0)[p];
    const float* const top_right = scratch.window + places_of(scratch, n, 1)[p];
    const float* const bottom_left = scratch.window + places_of(scratch, n, 2)[p];
    const float* const bottom_right = scratch.window + places_of(scratch, n, 3)[p];
    const float of_top_left = weights_of(scratch, n, 0)[p], of_top_right = weights_of(scratch, n, 1)[p];
    const float of_bottom_left = weights_of(scratch, n, 2)[p], of_bottom_right = weights_of(scratch, n, 3)[p];
    float* const to = scratch.samples + p * depth + n * channels;
    for (int64_t c = 0; c < channels; c += kLanes) {
      store(to + c, load(top_left + c) * of_top_left + load(top_right + c) * of_top_right +
                        load(bottom_left + c) * of_bottom_left + load(bottom_right + c) * of_bottom_right);
    }
  }
}

// The samples of tap n that the window lacks, from the map itself.
static void fetch_samples(const Call& call, const Scratch& scratch, const Tile& tile, int64_t n) {
  const Dims& d = call.d;
  const akconv_sample::Places places{d.N, d.H, d.W, d.h, d.w, call.stride, call.grid};
  const int32_t* const is_lacking = places_of(scratch, n, 4);
  for (int64_t p = 0; p < tile.count; ++p) {
    if (!is_lacking[p]) continue;
    const int64_t place = tile.first + p;
    const akconv_sample::Corners corners = akconv_sample::corners_of(
        places, call.taps + 2 * n, call.offset, tile.image, n, place / d.w, place % d.w);
    float* const to = scratch.samples + (p * d.N + n) * call.channels;
    const float* const map = call.x + tile.image * d.C * d.H * d.W;
    for (int64_t c = 0; c < d.C; ++c) to[c] = akconv_sample::sample_of(map + c * d.H * d.W, corners);
  }
}

// outputs (kRows x kBlock) = SiLU(samples (kRows x depth) times weights (depth x kBlock) + bias).
static void multiply(const float* samples, int64_t depth, const float* weights, const float* bias, float* outputs) {
  Vector sum[kRows][kVectors];
  for (int row = 0; row < kRows; ++row) {
    for (int vector = 0; vector < kVectors; ++vector) sum[row][vector] = load(bias + vector * kLanes);
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vector weight[kVectors];
    for (int vector = 0; vector < kVectors; ++vector) weight[vector] = load(weights + k * kBlock + vector * kLanes);
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
      const float sample = samples[row * depth + k];
      for (int vector = 0; vector < kVectors; ++vector) sum[row][vector] += weight[vector] * sample;
    }
  }
  for (int row = 0; row < kRows; ++row) {
    for (int vector = 0; vector < kVectors; ++vector) {
      store(outputs + row * kBlock + vector * kLanes, silu_of(sum[row][vector]));
    }
  }
}

// The outputs of one block of a tile to their planes.
static void write_outputs(const Call& call, const Scratch& scratch, const Tile& tile, int64_t first_output) {
  const int64_t plane = call.d.h * call.d.w;
  float* const to = call.y + (tile.image * call.d.O + first_output) * plane + tile.first;
  const int64_t outputs = smaller(kBlock, call.d.O - first_output);
  for (int64_t p = 0; p < tile.count; p += kLanes) {
    for (int64_t o = 0; o < outputs; o += kLanes) {
      if (p + kLanes <= tile.count && o + kLanes <= outputs) {
        Vector square[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) square[lane] = load(scratch.outputs + (p + lane) * kBlock + o);
        transpose(square);
        for (int lane = 0; lane < kLanes; ++lane) store(to + (o + lane) * plane + p, square[lane]);
      } else {
        for (int64_t lane = o; lane < smaller(o + kLanes, outputs); ++lane) {
          for (int64_t q = p; q < smaller(p + kLanes, tile.count); ++q) {
            to[lane * plane + q] = scratch.outputs[q * kBlock + lane];
          }
        }
      }
    }
  }
}

static void run_tile(const Call& call, const Scratch& scratch, const Loaded& loaded, Tile* tile) {
  const int64_t depth = call.d.N * call.channels;
  start_tile(call, tile);
  for (int64_t n = 0; n < call.d.N; ++n) {
    const bool is_lacking = locate_samples(call, scratch, *tile, loaded, n);
    take_samples(call, scratch, *tile, n);
    if (is_lacking) fetch_samples(call, scratch, *tile, n);
  }
  for (int64_t first = 0; first < call.d.O; first += kBlock) {
    const float* const weights = call.packed + first * depth;
    for (int64_t p = 0; p < tile->count; p += kRows) {
      multiply(scratch.samples + p * depth, depth, weights, call.bias + first, scratch.outputs + p * kBlock);
    }
    write_outputs(call, scratch, *tile, first);
  }
}

static void run_rows(const Call& call, const Scratch& scratch, int64_t image, int64_t first_row, int64_t last_row) {
  // Rows of pixels that a short tile leaves out are multiplied all the same, so they must hold numbers.
  memset(scratch.samples, 0, static_cast<size_t>(kTile * call.d.N * call.channels) * sizeof(float));
  Loaded loaded;
  Tile tile;
  tile.image = image;
  for (int64_t row = first_row; row < last_row; row += call.rows_at_once) {
    const int64_t end = smaller(row + call.rows_at_once, last_row);
    const Loaded needed = rows_needed(call, image, row, end);
    move_window(call, scratch, image, needed.low, needed.high, &loaded);
    for (int64_t pixel = row * call.d.w; pixel < end * call.d.w; pixel += kTile) {
      tile.first = pixel;
      tile.count = smaller(kTile, end * call.d.w - pixel);
      run_tile(call, scratch, loaded, &tile);
    }
  }
}

}  // namespace TERCELET_SIMD

const Variant& TERCELET_VARIANT(TERCELET_SIMD)() {
  static constexpr Variant variant{TERCELET_SIMD::kLanes, TERCELET_SIMD::kBlock, TERCELET_SIMD::run_rows};
  return variant;
}

}  // namespace akconv
}  // namespace tercelet
