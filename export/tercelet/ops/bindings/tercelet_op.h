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

struct OperandRule {
  const char* name;
  bool is_feature;  // may be half on a GPU; everything else is float
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
