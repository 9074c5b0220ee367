// SetAbstraction on a CPU, the quick form.
//
// The first layer's share of the features is computed once a point, into the scratch memory. Then rows, one for each
// slot that is no copy of its centre's first, go through the layers, as many at a time as a register tile has, and stay
// in the first cache until the largest of each channel is taken.
#pragma once

#include "memory.h"
#include "set_abstraction/kernel.h"
#include "simd.h"

namespace tercelet {
namespace set_abstraction {

constexpr int64_t kPointsAtOnce = 240;  // a multiple of the rows of all register tiles
constexpr int64_t kCentresAtOnce = 32;
constexpr int64_t kMostRows = 12;

// Weights as vectors of outputs: (outputs / lanes, inputs, lanes).
struct Packed {
  const float *places, *bias0;  // (3, C), (C)
  const float* first;           // of the features
  const float *second, *bias1;
  const float *third, *bias2;
};

// One cloud of a call.
struct Cloud {
  Dims d;
  float radius;
  const float *points, *centre, *features;
  const int32_t* index;
  Packed packed;
  float* table;  // (N, C)
  float* y;
};

struct Variant {
  int64_t lanes;
  void (*fill_table)(const Cloud&, int64_t first, int64_t last);
  void (*find_largest)(const Cloud&, float* scratch, int64_t first, int64_t last);
};

TERCELET_VARIANTS

// Floats that a piece of centres needs: rows after each layer, and the largest of each centre.
inline int64_t scratch_of(const Dims& d) { return kMostRows * (d.C + d.D + d.O) + kCentresAtOnce * d.O; }

class Fast {
 public:
  Fast() : variant_(variant_of(best_simd())) {}
  explicit Fast(Simd simd) : variant_(variant_of(simd)) {}

  // Packs the weights once if all are constant. shapes and constant: one each input, nullptr if it varies.
  void prepare(const Attributes&, const Shape* shapes, const void* const* constant) {
    const float* weights[6];
    for (int input = 4; input < 10; ++input) {
      if (constant[input] == nullptr || shapes[input].rank != (input % 2 == 0 ? 2 : 1)) return;
      weights[input - 4] = static_cast<const float*>(constant[input]);
    }
    Dims d{};
    d.C = shapes[4].size[0], d.K = shapes[4].size[1], d.F = d.K - 3;
    d.D = shapes[6].size[0], d.O = shapes[8].size[0];
    const bool is_sound = d.F >= 1 && shapes[5].size[0] == d.C && shapes[6].size[1] == d.C &&
                          shapes[7].size[0] == d.D && shapes[8].size[1] == d.D && shapes[9].size[0] == d.O;
    if (!is_sound || !has_whole_vectors(d)) return;
    packed_ = pack(d, weights, &memory_);
    is_packed_ = true;
  }

  // False if the sizes are not for this form; then nothing was written.
  template <class Pool>
  bool run(const Kernel<float>& k, const Pool& pool) {
    const Dims& d = k.d;
    if (!has_whole_vectors(d) || d.N < kMostRows) return false;
    Floats once;
    const float* const weights[6] = {k.weight0, k.bias0, k.weight1, k.bias1, k.weight2, k.bias2};
    const Packed packed = is_packed_ ? packed_ : pack(d, weights, &once);
    const auto cloud_of = [&](int64_t b) {
      return Cloud{d, k.a.radius, k.points + b * d.N * 3, k.centre + b * d.M * 3, k.features + b * d.F * d.N,
                   k.index + b * d.M * d.S, packed, k.scratch + b * d.N * d.C, k.y + b * d.O * d.M};
    };
    const int64_t tables = (d.N + kPointsAtOnce - 1) / kPointsAtOnce;
    const int64_t pieces = (d.M + kCentresAtOnce - 1) / kCentresAtOnce;
    if (pieces == 0) return true;
    pool.run(d.B * tables, [&](int64_t index) {
      const int64_t first = index % tables * kPointsAtOnce, last = first + kPointsAtOnce;
      variant_.fill_table(cloud_of(index / tables), first, last < d.N ? last : d.N);
    });
    pool.run(d.B * pieces, [&](int64_t index) {
      thread_local Floats memory;
      const int64_t first = index % pieces * kCentresAtOnce, last = first + kCentresAtOnce;
      variant_.find_largest(cloud_of(index / pieces), memory.at_least(scratch_of(d)), first, last < d.M ? last : d.M);
    });
    return true;
  }

 private:
  bool has_whole_vectors(const Dims& d) const {
    const int64_t lanes = variant_.lanes;
    return d.C > 0 && d.D > 0 && d.O > 0 && d.C % lanes == 0 && d.D % lanes == 0 && d.O % lanes == 0;
  }

  // Columns `skipped` to `inputs` of a weight (outputs, inputs).
  float* pack_weight(const float* weight, int64_t outputs, int64_t inputs, int64_t skipped, float* to) const {
    for (int64_t o = 0; o < outputs; o += variant_.lanes) {
      for (int64_t i = skipped; i < inputs; ++i) {
        for (int64_t lane = 0; lane < variant_.lanes; ++lane) *to++ = weight[(o + lane) * inputs + i];
      }
    }
    return to;
  }

  Packed pack(const Dims& d, const float* const* weights, Floats* into) const {
    float* next = into->at_least(d.C * (d.K + 1) + d.D * (d.C + 1) + d.O * (d.D + 1));
    Packed packed{};
    packed.places = next;
    for (int axis = 0; axis < 3; ++axis) {
      for (int64_t c = 0; c < d.C; ++c) *next++ = weights[0][c * d.K + axis];
    }
    packed.first = next, next = pack_weight(weights[0], d.C, d.K, 3, next);
    packed.second = next, next = pack_weight(weights[2], d.D, d.C, 0, next);
    packed.third = next, next = pack_weight(weights[4], d.O, d.D, 0, next);
    const auto keep = [&](const float* bias, int64_t count) {
      const float* const kept = next;
      for (int64_t o = 0; o < count; ++o) *next++ = bias[o];
      return kept;
    };
    packed.bias0 = keep(weights[1], d.C), packed.bias1 = keep(weights[3], d.D), packed.bias2 = keep(weights[5], d.O);
    return packed;
  }

  const Variant& variant_;
  Floats memory_;
  Packed packed_{};
  bool is_packed_ = false;
};

}  // namespace set_abstraction
}  // namespace tercelet
