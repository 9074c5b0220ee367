// The arithmetic of AKConvSample, once for CPU and GPU. Semantics: spec.py beside this file.
#pragma once

#include "tercelet_ops_akconv_sample.h"  // generated from spec.py: Dims, Attributes

namespace tercelet {
namespace akconv_sample {

constexpr int64_t kGridXY = 1;  // index into the choices of the attribute grid

// Two pixels of an axis and their weights. 0 <= low <= high < size, whatever the position was.
struct Axis {
  int32_t low, high;
  float of_low, of_high;
};

// Bilinear for 0 <= p < size - 1; outside (the last pixel included) the border pixel counts twice. NaN reads the last
// pixel with weight NaN. Selections only, no short circuits: loops over it have to become vector code.
TERCELET_HD Axis axis_of(float p, int32_t size) {
  const float last = static_cast<float>(size - 1);
  const int32_t is_inside = static_cast<int32_t>(p >= 0.0f) & static_cast<int32_t>(p < last);
  const float below = p < last ? p : last;
  const float within = below > 0.0f ? below : 0.0f;
  const int32_t low = static_cast<int32_t>(within);  // never negative, so cutting off is rounding down
  const float fraction = within - static_cast<float>(low);
  Axis axis;
  axis.low = low;
  axis.high = low + is_inside;
  axis.of_low = p == p ? 1.0f - fraction : p;
  axis.of_high = is_inside != 0 ? fraction : 1.0f;
  return axis;
}

// Where samples are taken: taps, sides of map and output, stride and grid.
struct Places {
  int64_t N, H, W, h, w, stride, grid;
};

// Row and column of the map where tap (0, 0) of output place (i, j) lies.
TERCELET_HD void base_of(const Places& p, int64_t i, int64_t j, int64_t* row, int64_t* column) {
  if (p.grid == kGridXY) {
    const int64_t place = i * p.w + j;
    *row = place % p.h * p.stride;
    *column = place / p.h * p.stride;
  } else {
    *row = i * p.stride;
    *column = j * p.stride;
  }
}

// The four pixels of one sample: offsets into a map of W columns, and their weights.
struct Corners {
  int64_t top_left, top_right, bottom_left, bottom_right;
  float of_top_left, of_top_right, of_bottom_left, of_bottom_right;
};

// offset: of the whole batch. tap: row and column of tap n. Place, tap and offset are rounded once, in float.
TERCELET_HD Corners corners_of(const Places& p, const int32_t* tap, const float* offset, int64_t b, int64_t n,
                               int64_t i, int64_t j) {
  int64_t base_row, base_column;
  base_of(p, i, j, &base_row, &base_column);
  const int64_t plane = p.h * p.w;
  const float* const rows = offset + (b * 2 * p.N + n) * plane + i * p.w + j;
  const Axis y = axis_of(rows[0] + static_cast<float>(base_row + tap[0]), static_cast<int32_t>(p.H));
  const Axis x = axis_of(rows[p.N * plane] + static_cast<float>(base_column + tap[1]), static_cast<int32_t>(p.W));
  Corners corners;
  corners.top_left = y.low * p.W + x.low;
  corners.top_right = y.low * p.W + x.high;
  corners.bottom_left = y.high * p.W + x.low;
  corners.bottom_right = y.high * p.W + x.high;
  corners.of_top_left = y.of_low * x.of_low;
  corners.of_top_right = y.of_low * x.of_high;
  corners.of_bottom_left = y.of_high * x.of_low;
  corners.of_bottom_right = y.of_high * x.of_high;
  return corners;
}

template <class T>
TERCELET_HD float sample_of(const T* plane, const Corners& c) {
  return c.of_top_left * static_cast<float>(plane[c.top_left]) +
         c.of_top_right * static_cast<float>(plane[c.top_right]) +
         c.of_bottom_left * static_cast<float>(plane[c.bottom_left]) +
         c.of_bottom_right * static_cast<float>(plane[c.bottom_right]);
}

// What the shapes alone do not say; nullptr if all is well.
inline const char* check(const Dims& d, const Attributes& a) {
  if (a.stride < 1 || a.stride > (int64_t{1} << 20)) return "stride: expected 1 to 1048576";
  if (d.N < 1 || d.N > kMaximumInts / 2) return "offset: expected 1 to 64 taps, two channels each";
  if (a.taps.size != 2 * d.N) return "taps: expected two numbers for each tap of offset";
  for (int32_t index = 0; index < a.taps.size; ++index) {
    if (a.taps.value[index] >= (1 << 20) || a.taps.value[index] <= -(1 << 20)) {
      return "taps: expected numbers below 1048576 in size";
    }
  }
  if (d.H >= (int64_t{1} << 20) || d.W >= (int64_t{1} << 20)) return "x: expected sides below 1048576 pixels";
  if (d.h != (d.H + a.stride - 1) / a.stride || d.w != (d.W + a.stride - 1) / a.stride) {
    return "offset: expected the height and width of x divided by the stride, rounded up";
  }
  return nullptr;
}

constexpr int64_t kChannelsAtOnce = 16;

// One item is one sample position and 16 of its channels, so that small maps keep a GPU busy too.
template <class T>
struct Kernel {
  Dims d;
  Attributes a;
  const T* x;
  const float* offset;
  T* sampled;

  TERCELET_HD int64_t groups() const { return (d.C + kChannelsAtOnce - 1) / kChannelsAtOnce; }
  TERCELET_HD int64_t items() const { return d.B * groups() * d.N * d.h * d.w; }

  TERCELET_HD void item(int64_t index) const {
    const int64_t j = index % d.w, i = index / d.w % d.h, n = index / (d.w * d.h) % d.N;
    const int64_t rest = index / (d.w * d.h * d.N);
    const int64_t first = rest % groups() * kChannelsAtOnce, b = rest / groups();
    const int64_t last = d.C - first < kChannelsAtOnce ? d.C : first + kChannelsAtOnce;
    const Places places{d.N, d.H, d.W, d.h, d.w, a.stride, a.grid};
    const Corners corners = corners_of(places, a.taps.value + 2 * n, offset, b, n, i, j);
    for (int64_t c = first; c < last; ++c) {
      const T* const plane = x + (b * d.C + c) * d.H * d.W;
      sampled[(((b * d.C + c) * d.N + n) * d.h + i) * d.w + j] = static_cast<T>(sample_of(plane, corners));
    }
  }
};

}  // namespace akconv_sample
}  // namespace tercelet
