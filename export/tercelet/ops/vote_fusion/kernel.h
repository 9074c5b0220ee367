// The arithmetic of VoteFusion, once for CPU and GPU. Semantics: spec.py beside this file.
#pragma once

#include "tercelet_ops_vote_fusion.h"  // generated from spec.py: Dims, Attributes

namespace tercelet {
namespace vote_fusion {

constexpr int64_t kParity = 1;  // index into the choices of the attribute mode
constexpr int kSlots = 3, kClasses = 10, kRows = 18, kTextureRow = 15;
constexpr float kNearest = 1e-3f, kTiny = 1e-6f, kSingular = 1e-5f, kFarthest = 1e7f;

// A box in pixels of the original picture, and what the detector says of it.
struct Box {
  float left, top, right, bottom, confidence, label;
};

// Where the scale of an axis is negative, the picture is mirrored along it.
TERCELET_HD void original_side(const float* line, float first, float second, float* low, float* high) {
  const float a = (first - line[1]) / line[0], b = (second - line[1]) / line[0];
  *low = line[0] < 0.0f ? b : a;
  *high = line[0] < 0.0f ? a : b;
}

// The left part of depth2img, inverted: inverse(k, i) = cofactor[i][k] / determinant.
struct Inverse {
  float cofactor[3][3];
  float determinant;
  bool is_sound;
};

TERCELET_HD Inverse inverse_of(const float* m) {
  Inverse found;
  for (int i = 0; i < 3; ++i) {
    const float* const after = m + (i + 1) % 3 * 4;
    const float* const before = m + (i + 2) % 3 * 4;
    for (int k = 0; k < 3; ++k) {
      const int right = (k + 1) % 3, left = (k + 2) % 3;
      found.cofactor[i][k] = after[right] * before[left] - after[left] * before[right];
    }
  }
  const float p = m[0] * found.cofactor[0][0], q = m[1] * found.cofactor[0][1], r = m[2] * found.cofactor[0][2];
  found.determinant = (p + q) + r;
  found.is_sound = fabsf(found.determinant) > kSingular * ((fabsf(p) + fabsf(q)) + fabsf(r));
  return found;
}

// Places in the list of a seed's boxes, the best first; of equal scores the one that comes first in the list.
struct Best {
  float score[kSlots];
  int64_t place[kSlots];
  bool is_hit[kSlots];
};

TERCELET_HD void offer(Best* best, int64_t place, float score, bool is_hit) {
  int slot = kSlots;
  while (slot > 0 && score > best->score[slot - 1]) --slot;
  if (slot == kSlots) return;
  for (int index = kSlots - 1; index > slot; --index) {
    best->score[index] = best->score[index - 1];
    best->place[index] = best->place[index - 1];
    best->is_hit[index] = best->is_hit[index - 1];
  }
  best->score[slot] = score;
  best->place[slot] = place;
  best->is_hit[slot] = is_hit;
}

// Whether p, a pixel as the detector saw it, lies between two sides or so close to it that rounding might decide.
TERCELET_HD bool may_lie_between(float p, float first, float second) {
  const float margin = 1.0f + 1e-5f * fabsf(p);
  return p > first - margin && p < second + margin;
}

// What the shapes alone do not say; nullptr if all is well.
inline const char* check(const Dims& d, const Attributes&) {
  if (d.n > (int64_t{1} << 20)) return "seeds: expected at most 1048576";
  if (d.K > (int64_t{1} << 16)) return "boxes: expected at most 65536";
  return nullptr;
}

// One item is one seed.
template <class T>
struct Kernel {
  Dims d;
  Attributes a;
  const float *seeds, *texture, *boxes, *depth2img, *picture;
  float *cues, *mask;

  TERCELET_HD int64_t items() const { return d.n; }

  // Row `row` of depth2img times a point, summed in this order.
  TERCELET_HD float projected(int row, const float* p) const {
    const float* const m = depth2img + 4 * row;
    return ((m[0] * p[0] + m[1] * p[1]) + m[2] * p[2]) + m[3];
  }

  TERCELET_HD bool is_within(int axis, float pixel) const {
    const float* const line = picture + 3 * axis;
    const float place = pixel * line[0] + line[1];
    return place >= 0.0f && place <= line[2];
  }

  TERCELET_HD Box box_at(int64_t index) const {
    const float* const row = boxes + 6 * index;
    Box box;
    original_side(picture, row[0], row[2], &box.left, &box.right);
    original_side(picture + 3, row[1], row[3], &box.top, &box.bottom);
    box.confidence = row[4];
    if (a.mode != kParity) {
      const float limited = row[4] < 1.0f ? row[4] : 1.0f;
      box.confidence = row[4] > 0.0f ? limited : 0.0f;
      // No pixel lies left of this.
      if (!(box.left > -kFarthest && box.right < kFarthest)) box.right = -kFarthest;
      if (!(box.top > -kFarthest && box.bottom < kFarthest)) box.bottom = -kFarthest;
    }
    box.label = row[5];
    return box;
  }

  TERCELET_HD Best best_of(float u, float v, bool is_seen) const {
    Best best;
    const bool is_parity = a.mode == kParity;
    for (int slot = 0; slot < kSlots; ++slot) {
      best.score[slot] = is_parity ? -INFINITY : 0.0f;
      best.place[slot] = 0;
      best.is_hit[slot] = false;
    }
    const float column = u * picture[0] + picture[1], line = v * picture[3] + picture[4];
    for (int64_t index = 0; is_seen && index < d.K; ++index) {
      const float* const row = boxes + 6 * index;
      // Most boxes are far off, which is seen without a division.
      bool is_hit = may_lie_between(column, row[0], row[2]) && may_lie_between(line, row[1], row[3]);
      if (is_hit) {
        const Box box = box_at(index);
        is_hit = u > box.left && u < box.right && v > box.top && v < box.bottom;
        if (is_hit && !is_parity) offer(&best, index, 1.0f + box.confidence, true);
      }
      if (is_parity) offer(&best, index, (is_hit ? 1.0f : 0.0f) + row[4], is_hit);
    }
    // Three empty boxes close the list.
    for (int slot = 0; is_parity && slot < kSlots; ++slot) offer(&best, 0, 0.0f, false);
    return best;
  }

  TERCELET_HD void write(int64_t column, int row, float value) const { cues[row * kSlots * d.n + column] = value; }

  TERCELET_HD void write_geometry(int64_t column, const float* seed, const float* place) const {
    const float squares = (place[0] * place[0] + place[1] * place[1]) + place[2] * place[2];
    const float length = sqrtf(squares + kTiny);
    float slope = place[1] / length + kTiny;
    if (a.mode != kParity && fabsf(slope) < kTiny) slope = kTiny;
    for (int k = 0; k < 3; ++k) write(column, 2 + k, place[k] / length);
    write(column, 0, place[0] / length / slope * seed[1] - seed[0]);
    write(column, 1, place[2] / length / slope * seed[1] - seed[2]);
  }

  TERCELET_HD void item(int64_t i) const {
    const float* const seed = seeds + 3 * i;
    const float depth = projected(2, seed);
    const float u = rintf(projected(0, seed) / depth - 1.0f), v = rintf(projected(1, seed) / depth - 1.0f);
    const Inverse inverse = inverse_of(depth2img);
    const bool is_seen =
        a.mode == kParity || (depth > kNearest && is_within(0, u) && is_within(1, v) && inverse.is_sound);
    const Best best = best_of(u, v, is_seen);
    for (int slot = 0; slot < kSlots; ++slot) {
      const int64_t column = slot * d.n + i;
      bool is_vote = best.is_hit[slot];
      if (a.mode == kParity) is_vote = d.K ? floorf(best.score[slot]) > 0.0f : slot == 0;
      mask[column] = is_vote ? 1.0f : 0.0f;
      for (int channel = 0; channel < 3; ++channel) write(column, kTextureRow + channel, texture[3 * i + channel]);
      for (int row = 0; row < kTextureRow; ++row) write(column, row, 0.0f);
      if (!best.is_hit[slot]) continue;
      const Box box = box_at(best.place[slot]);
      const float across = ((box.left + box.right) * 0.5f - u) * depth;
      const float down = ((box.top + box.bottom) * 0.5f - v) * depth;
      float place[3];
      for (int k = 0; k < 3; ++k) {
        const float c[3] = {inverse.cofactor[0][k], inverse.cofactor[1][k], inverse.cofactor[2][k]};
        float move = (across * c[0] + down * c[1]) / inverse.determinant;
        if (a.mode == kParity) {
          const float shift = (depth2img[3] * c[0] + depth2img[7] * c[1]) + depth2img[11] * c[2];
          move = move - shift / inverse.determinant;
        }
        place[k] = seed[k] + move;
      }
      write_geometry(column, seed, place);
      for (int k = 0; k < kClasses; ++k) {
        if (box.label == static_cast<float>(k)) write(column, 5 + k, box.confidence);
      }
    }
  }
};

}  // namespace vote_fusion
}  // namespace tercelet
