// AKConv on a CPU, the quick form: samples of a few pixels at a time, multiplied at once and never written down.
//
// The map is turned to channels-last, a window of rows at a time, so that a sample is four loads of whole vectors;
// the window slides down the map with the output. A sample whose rows lie outside the window is read from the map
// itself, slowly. The multiplication keeps its sums in registers; bias and SiLU are applied before they leave.
#pragma once

#include <thread>

#include "akconv/kernel.h"
#include "memory.h"
#include "simd.h"

namespace tercelet {
namespace akconv {

constexpr int64_t kTile = 48;  // pixels at a time: a multiple of all lanes and of the rows of all register tiles

// One run of the op, as the vectorised code (cpu.cc) sees it.
struct Call {
  Dims d;
  int64_t stride, grid;
  const int32_t* taps;
  const float* x;
  const float* offset;
  const float* packed;  // blocks of outputs, each (N, padded channels, outputs of a block)
  const float* bias;    // padded to whole blocks
  float* y;
  int64_t channels;      // C padded to whole vectors
  int64_t window_rows;   // rows of the map that the window holds
  int64_t rows_at_once;  // output rows between two moves of the window
};

// Memory of one thread, as offsets into one block of floats.
struct Scratch {
  float* window;
  float* samples;
  float* outputs;
  float* weights;  // 4 for each tap and pixel of a tile
  int32_t* places;  // 4 likewise, and a flag
};

struct Variant {
  int64_t lanes;
  int64_t block;  // outputs of a block
  void (*run_rows)(const Call&, const Scratch&, int64_t image, int64_t first_row, int64_t last_row);
};

TERCELET_VARIANTS

class Fast {
 public:
  Fast() : variant_(variant_of(best_simd())) {}
  explicit Fast(Simd simd) : variant_(variant_of(simd)) {}

  // Packs weight and bias once if both are constant. shapes and constant: one each input, nullptr if it varies.
  void prepare(const Attributes&, const Shape* shapes, const void* const* constant) {
    if (constant[2] == nullptr || constant[3] == nullptr || shapes[2].rank != 4 || shapes[3].rank != 1) return;
    Dims d{};
    d.O = shapes[2].size[0], d.C = shapes[2].size[1], d.N = shapes[2].size[3];
    if (shapes[2].size[2] != 1 || shapes[3].size[0] != d.O) return;
    pack(d, static_cast<const float*>(constant[2]), static_cast<const float*>(constant[3]), &packed_);
    is_packed_ = true;
  }

  // False if the sizes are beyond this form; then nothing was written.
  template <class Pool>
  bool run(const Kernel<float>& k, const Pool& pool) {
    const Dims& d = k.d;
    if (d.B * d.O * d.h * d.w == 0) return true;
    if (d.C == 0) return false;
    Call call{d, k.a.strides.value[0], k.a.grid, k.a.taps.value, k.x, k.offset, nullptr, nullptr, k.y, 0, 0, 0};
    call.channels = rounded_up(d.C, variant_.lanes);
    if (!choose_window(&call)) return false;
    Floats once;
    const float* const packed = is_packed_ ? packed_.data() : pack(d, k.weight, k.bias, &once);
    call.bias = packed;
    call.packed = packed + rounded_up(d.O, variant_.block);
    const int64_t threads = thread_count();
    const int64_t pieces = d.h < threads ? d.h : threads;
    pool.run(d.B * pieces, [&](int64_t index) {
      const int64_t image = index / pieces, piece = index % pieces;
      variant_.run_rows(call, scratch_for(call), image, d.h * piece / pieces, d.h * (piece + 1) / pieces);
    });
    return true;
  }

 private:
  static constexpr int64_t kWindowFloats = 160 * 1024;  // 640 kB: what a core's second cache holds beside weights
  static constexpr int64_t kLargestFloats = int64_t{64} << 20;
  static constexpr int64_t kSpareRows = 8;              // that offsets may reach beyond the taps

  static int64_t thread_count() {
    static const int64_t count = std::thread::hardware_concurrency();
    return count < 1 ? 1 : count > 64 ? 64 : count;
  }

  // How many rows the window holds, and how many output rows it serves at a time.
  static bool choose_window(Call* call) {
    const Dims& d = call->d;
    int32_t lowest = 0, highest = 0;
    for (int64_t n = 0; n < d.N; ++n) {
      lowest = call->taps[2 * n] < lowest ? call->taps[2 * n] : lowest;
      highest = call->taps[2 * n] > highest ? call->taps[2 * n] : highest;
    }
    const int64_t fixed = highest - lowest + 2 + kSpareRows;
    int64_t rows = kWindowFloats / (d.W * call->channels);
    if (rows < fixed) rows = fixed;
    if (rows > d.H || call->grid == akconv_sample::kGridXY) rows = d.H;
    call->window_rows = rows;
    const int64_t moves = (rows - fixed) / call->stride;
    call->rows_at_once = rows == d.H ? d.h : moves < 1 ? 1 : moves;
    // Beyond 256 MB for a thread the plain form has to do. Places, 32 bits wide, are then far from their end.
    return rows * d.W * call->channels + d.N * call->channels * kTile <= kLargestFloats;
  }

  // Bias, then weights, as Call describes; padding is zero.
  const float* pack(const Dims& d, const float* weight, const float* bias, Floats* into) const {
    const int64_t channels = rounded_up(d.C, variant_.lanes), block = variant_.block;
    const int64_t outputs = rounded_up(d.O, block);
    float* const all = into->at_least(outputs * (1 + d.N * channels));
    for (int64_t o = 0; o < outputs; ++o) all[o] = o < d.O ? bias[o] : 0.0f;
    float* const packed = all + outputs;
    for (int64_t o = 0; o < outputs; ++o) {
      float* const column = packed + o / block * d.N * channels * block + o % block;
      for (int64_t n = 0; n < d.N; ++n) {
        for (int64_t c = 0; c < channels; ++c) {
          const bool is_real = o < d.O && c < d.C;
          column[(n * channels + c) * block] = is_real ? weight[(o * d.C + c) * d.N + n] : 0.0f;
        }
      }
    }
    return all;
  }

  // This thread's memory, kept from run to run.
  Scratch scratch_for(const Call& call) const {
    thread_local Floats memory;
    const Dims& d = call.d;
    const int64_t window = call.window_rows * d.W * call.channels, samples = kTile * d.N * call.channels;
    const int64_t outputs = kTile * variant_.block, weights = 4 * kTile * d.N, places = 5 * kTile * d.N;
    float* const start = memory.at_least(rounded_up(window, 16) + rounded_up(samples, 16) + outputs + weights + places);
    Scratch scratch{};
    scratch.window = start;
    scratch.samples = scratch.window + rounded_up(window, 16);
    scratch.outputs = scratch.samples + rounded_up(samples, 16);
    scratch.weights = scratch.outputs + outputs;
    scratch.places = reinterpret_cast<int32_t*>(scratch.weights + weights);
    return scratch;
  }

  const Variant& variant_;
  Floats packed_;
  bool is_packed_ = false;
};

}  // namespace akconv
}  // namespace tercelet
