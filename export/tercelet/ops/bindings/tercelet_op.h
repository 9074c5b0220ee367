// What every kernel.h and every binding shares. No framework header, no allocation, C++17.
#pragma once

#include <math.h>
#include <stdint.h>

#if defined(__CUDACC__)
#define TERCELET_HD __host__ __device__ inline
#else
// Always inlined: each instruction set must get code of its own, never another's through the linker.
#define TERCELET_HD inline __attribute__((always_inline))
#endif

namespace tercelet {

constexpr int kMaximumRank = 6;
constexpr int kMaximumInts = 128;

// A list attribute by value, so that a GPU kernel takes it as an argument.
struct Ints {
  int32_t size = 0;
  int32_t value[kMaximumInts] = {};
};

struct Shape {
  int32_t rank = 0;
  int64_t size[kMaximumRank] = {};
};

// A dimension: factor times a symbol, or the factor alone where symbol is -1.
struct DimensionRule {
  int64_t factor;
  int32_t symbol;
};

// Features may be half on a GPU; other numbers are float, integers are of 32 bits.
enum OperandKind : int { kNumber = 0, kFeature = 1, kInteger = 2 };

struct OperandRule {
  const char* name;
  OperandKind kind;
  int32_t rank;
  DimensionRule dimension[kMaximumRank];
};

// Bind symbols (-1: not known yet) to the sizes of one operand. The name of the operand if they do not fit.
inline const char* bind_operand(const OperandRule& rule, const Shape& shape, int64_t* symbols) {
  if (shape.rank != rule.rank) return rule.name;
  for (int axis = 0; axis < rule.rank; ++axis) {
    const DimensionRule& dimension = rule.dimension[axis];
    const int64_t size = shape.size[axis];
    if (size < 0) return rule.name;
    if (dimension.symbol < 0) {
      if (size != dimension.factor) return rule.name;
      continue;
    }
    if (size % dimension.factor != 0) return rule.name;
    int64_t& symbol = symbols[dimension.symbol];
    if (symbol >= 0 && symbol != size / dimension.factor) return rule.name;
    symbol = size / dimension.factor;
  }
  return nullptr;
}

inline Shape shape_from_symbols(const OperandRule& rule, const int64_t* symbols) {
  Shape shape;
  shape.rank = rule.rank;
  for (int axis = 0; axis < rule.rank; ++axis) {
    const DimensionRule& dimension = rule.dimension[axis];
    shape.size[axis] = dimension.factor * (dimension.symbol < 0 ? 1 : symbols[dimension.symbol]);
  }
  return shape;
}

// (dx * dx + dy * dy) + dz * dz, every step rounded: nothing is contracted, on no processor. For hosts the build says
// so (-ffp-contract=off).
TERCELET_HD float squared_distance(float dx, float dy, float dz) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(__fadd_rn(__fmul_rn(dx, dx), __fmul_rn(dy, dy)), __fmul_rn(dz, dz));
#else
  return (dx * dx + dy * dy) + dz * dz;
#endif
}

TERCELET_HD bool are_finite(float x, float y, float z) { return (x - x) + (y - y) + (z - z) == 0.0f; }

// What a team looks for: the largest value, of equal ones that with the smallest key.
struct Candidate {
  float value;
  int64_t key;
};

TERCELET_HD bool is_better(const Candidate& a, const Candidate& b) {
  return a.value > b.value || (a.value == b.value && a.key < b.key);
}

// A kernel that has kIsForTeams takes item(index, team): all threads of a team work on one item. On a GPU that is a
// block; elsewhere one thread, this one. What a thread writes others may read after the next call of best.
struct SoloTeam {
  TERCELET_HD int64_t rank() const { return 0; }
  TERCELET_HD int64_t size() const { return 1; }
  TERCELET_HD Candidate best(const Candidate& mine) const { return mine; }
};

template <class Kernel, class = void>
struct IsForTeams {
  static constexpr bool value = false;
};
template <class Kernel>
struct IsForTeams<Kernel, decltype(void(Kernel::kIsForTeams))> {
  static constexpr bool value = Kernel::kIsForTeams;
};

// What a string attribute may be.
struct Choices {
  const char* text[8];
  int count;
};

// Index of `text` (of `length` characters) among the choices, -1 if it is none of them.
inline int64_t choice_of(const char* text, int64_t length, const Choices& choices) {
  for (int index = 0; index < choices.count; ++index) {
    const char* const choice = choices.text[index];
    int64_t place = 0;
    while (place < length && choice[place] != '\0' && choice[place] == text[place]) ++place;
    if (place == length && choice[place] == '\0') return index;
  }
  return -1;
}

}  // namespace tercelet
