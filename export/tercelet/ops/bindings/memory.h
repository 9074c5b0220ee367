// Memory of the vectorised kernels.
#pragma once

#include <stdint.h>
#include <stdlib.h>

#include <new>

namespace tercelet {

inline int64_t rounded_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// Memory of floats on a cache line's border, which grows and is freed with its owner.
class Floats {
 public:
  Floats() = default;
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  ~Floats() { free(data_); }

  float* at_least(int64_t count) {
    if (count > count_) {
      free(data_);
      data_ = nullptr;
      count_ = 0;
      void* made = nullptr;
      if (posix_memalign(&made, 64, static_cast<size_t>(count) * sizeof(float)) != 0) throw std::bad_alloc();
      data_ = static_cast<float*>(made);
      count_ = count;
    }
    return data_;
  }

  float* data() const { return data_; }

 private:
  float* data_ = nullptr;
  int64_t count_ = 0;
};

}  // namespace tercelet
