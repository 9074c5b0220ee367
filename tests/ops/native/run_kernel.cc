// Runs the items of an op's kernel.h on the CPU, exactly as the CUDA launcher spreads them over a GPU.
//
//   run_kernel OP CASE OUTPUTS
//
// CASE: as int64 the count of numbers of the shapes, these numbers, the same for the attributes (flat_call.h), then the
// inputs. OUTPUTS is written: the outputs one after the other. Features are half where TERCELET_HALF is defined.
#include <stdint.h>
#include <stdio.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

#if defined(TERCELET_HALF)
#include <cuda_fp16.h>
#endif

#include "flat_call.h"

namespace tercelet {
namespace {

#if defined(TERCELET_HALF)
using Feature = __half;
#else
using Feature = float;
#endif

int64_t bytes_of(const OperandRule& rule, const Shape& shape) {
  int64_t bytes = rule.kind == kFeature ? sizeof(Feature) : sizeof(float);
  for (int axis = 0; axis < shape.rank; ++axis) bytes *= shape.size[axis];
  return bytes;
}

std::vector<int64_t> read_numbers(std::ifstream& file) {
  int64_t count = 0;
  file.read(reinterpret_cast<char*>(&count), sizeof(count));
  std::vector<int64_t> numbers(static_cast<size_t>(count));
  file.read(reinterpret_cast<char*>(numbers.data()), count * static_cast<int64_t>(sizeof(int64_t)));
  return numbers;
}

Shape next_shape(CountedLists& lists) {
  const int64_t* sizes = nullptr;
  int64_t rank = 0;
  lists.take(&sizes, &rank);
  Shape shape;
  shape.rank = static_cast<int32_t>(rank);
  for (int64_t axis = 0; axis < rank; ++axis) shape.size[axis] = sizes[axis];
  return shape;
}

// A case as it lies in the file, its lists already read.
struct CaseFile {
  std::ifstream& file;
  std::vector<int64_t> shapes, attributes;

  CountedLists shape_lists() const { return {shapes.data(), static_cast<int64_t>(shapes.size())}; }
  CountedLists attribute_lists() const { return {attributes.data(), static_cast<int64_t>(attributes.size())}; }
};

constexpr int kTeam = 4;

// Threads that wait for each other as those of a block on a GPU do.
class Barrier {
 public:
  void wait() {
    const int round = round_.load();
    if (arrived_.fetch_add(1) + 1 == kTeam) {
      arrived_ = 0;
      ++round_;
    } else {
      while (round_.load() == round) std::this_thread::yield();
    }
  }

 private:
  std::atomic<int> arrived_{0}, round_{0};
};

// The team of cuda.cu, step by step.
struct ThreadTeam {
  int own;
  Candidate* slots;
  Barrier* barrier;

  int64_t rank() const { return own; }
  int64_t size() const { return kTeam; }

  Candidate best(const Candidate& mine) const {
    slots[own] = mine;
    barrier->wait();
    for (int half = kTeam / 2; half > 0; half /= 2) {
      if (own < half && is_better(slots[own + half], slots[own])) slots[own] = slots[own + half];
      barrier->wait();
    }
    const Candidate found = slots[0];
    barrier->wait();
    return found;
  }
};

template <class Kernel>
void run_all(const Kernel& kernel) {
  if constexpr (IsForTeams<Kernel>::value) {
    Candidate slots[kTeam];
    Barrier barrier;
    std::vector<std::thread> threads;
    for (int own = 0; own < kTeam; ++own) {
      threads.emplace_back([&, own] {
        for (int64_t index = 0; index < kernel.items(); ++index) kernel.item(index, ThreadTeam{own, slots, &barrier});
      });
    }
    for (std::thread& thread : threads) thread.join();
  } else {
    for (int64_t index = 0; index < kernel.items(); ++index) kernel.item(index);
  }
}

template <class Op>
void run_items(const typename Op::Dims& dims, const typename Op::Attributes& attributes, CaseFile& given,
               std::ofstream& written) {
  std::vector<char> data[Op::kInputs + Op::kOutputs];
  const void* in[Op::kInputs];
  void* out[Op::kOutputs];
  CountedLists lists = given.shape_lists();
  for (int index = 0; index < Op::kInputs; ++index) {
    data[index].resize(static_cast<size_t>(bytes_of(Op::kOperands[index], next_shape(lists))));
    given.file.read(data[index].data(), static_cast<int64_t>(data[index].size()));
    in[index] = data[index].data();
  }
  for (int index = 0; index < Op::kOutputs; ++index) {
    std::vector<char>& output = data[Op::kInputs + index];
    const int64_t bytes = bytes_of(Op::kOperands[Op::kInputs + index], Op::output_shape(index, dims, attributes));
    output.assign(static_cast<size_t>(bytes), '\xff');  // NaN: what no item writes is seen
    out[index] = output.data();
  }
  const std::unique_ptr<float[]> scratch(new float[static_cast<size_t>(Op::scratch_floats(dims, attributes))]);
  run_all(Op::template kernel<Feature>(dims, attributes, in, out, scratch.get()));
  for (int index = 0; index < Op::kOutputs; ++index) {
    const std::vector<char>& output = data[Op::kInputs + index];
    written.write(output.data(), static_cast<int64_t>(output.size()));
  }
}

struct Run {
  CaseFile& given;
  std::ofstream& written;

  template <class Tag>
  CallStatus operator()(Tag) const {
    using Op = typename Tag::type;
    typename Op::Dims dims{};
    typename Op::Attributes attributes{};
    Problem problem;
    const CallStatus status =
        read_call<Op>(given.shape_lists(), given.attribute_lists(), &dims, &attributes, &problem);
    if (status == kDone) {
      run_items<Op>(dims, attributes, given, written);
    } else {
      fprintf(stderr, "%s: %s: %s\n", Op::kName, problem.where, problem.what);
    }
    return status;
  }
};

}  // namespace
}  // namespace tercelet

int main(int count, char** arguments) {
  if (count != 4) return 100;
  std::ifstream file(arguments[2], std::ios::binary);
  std::ofstream written(arguments[3], std::ios::binary);
  tercelet::CaseFile given{file, tercelet::read_numbers(file), {}};
  given.attributes = tercelet::read_numbers(file);
  const int status = tercelet::visit_op(arguments[1], tercelet::Run{given, written});
  return file.good() && written.good() ? status : 101;
}
