// The ops on this CPU for callers that share no types with C++: the quick form where there is one, on several threads.
#include <stdio.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

#include "flat_call.h"

#define TERCELET_EXPORT extern "C" __attribute__((visibility("default")))

namespace tercelet {
namespace {

constexpr int64_t kItemsAtOnce = 256;

thread_local char last_message[512] = "";

CallStatus fail(CallStatus status, const char* op, const char* where, const char* what) {
  snprintf(last_message, sizeof(last_message), "%s: %s%s%s", op, where, *where ? ": " : "", what);
  return status;
}

// Work in pieces, taken by whichever thread is free.
struct Threads {
  int count;

  template <class Work>
  void run(int64_t pieces, const Work& work) const {
    std::atomic<int64_t> next{0};
    std::atomic<bool> has_failed{false};
    const auto take = [&] {
      try {
        for (int64_t piece = next++; piece < pieces; piece = next++) work(piece);
      } catch (const std::bad_alloc&) {
        has_failed = true;
      }
    };
    std::vector<std::thread> others;
    for (int64_t other = 1; other < std::min<int64_t>(count, pieces); ++other) {
      try {
        others.emplace_back(take);
      } catch (const std::exception&) {
        break;  // no more threads to be had: this one does the rest
      }
    }
    take();
    for (std::thread& thread : others) thread.join();
    if (has_failed) throw std::bad_alloc();
  }
};

template <class Kernel>
void run_items(const Kernel& kernel, const Threads& threads) {
  constexpr int64_t at_once = IsForTeams<Kernel>::value ? 1 : kItemsAtOnce;  // what takes a team is long
  const int64_t items = kernel.items();
  threads.run((items + at_once - 1) / at_once, [&](int64_t piece) {
    const int64_t first = piece * at_once, last = std::min(first + at_once, items);
    for (int64_t index = first; index < last; ++index) kernel.item(index);
  });
}

template <class Op, class Kernel>
void run_op(const Kernel& kernel, const typename Op::Attributes& attributes, const Threads& threads) {
  if constexpr (Op::kHasFastCpu) {
    typename Op::Fast fast;
    const Shape shapes[Op::kInputs] = {};
    const void* const constant[Op::kInputs] = {};
    fast.prepare(attributes, shapes, constant);
    if (fast.run(kernel, threads)) return;
  }
  (void)attributes;
  run_items(kernel, threads);
}

struct Call {
  CountedLists shapes, attributes;
  const void* const* in;
  void* const* out;
  Threads threads;

  template <class Tag>
  CallStatus operator()(Tag) const {
    using Op = typename Tag::type;
    typename Op::Dims dims{};
    typename Op::Attributes values{};
    Problem problem;
    const CallStatus status = read_call<Op>(shapes, attributes, &dims, &values, &problem);
    if (status != kDone) return fail(status, Op::kName, problem.where, problem.what);
    try {
      const int64_t floats = Op::scratch_floats(dims, values);
      const std::unique_ptr<float[]> scratch(floats > 0 ? new float[static_cast<size_t>(floats)] : nullptr);
      run_op<Op>(Op::template kernel<float>(dims, values, in, out, scratch.get()), values, threads);
    } catch (const std::exception& error) {
      return fail(kDeviceFailed, Op::kName, "", error.what());
    }
    return kDone;
  }
};

}  // namespace
}  // namespace tercelet

// Why this thread's last call failed.
TERCELET_EXPORT const char* tercelet_cpu_message() { return tercelet::last_message; }

// Run an op on arrays of float and int32 as specified, and return a CallStatus (flat_call.h, where shapes and
// attributes are described as well). in, out: in the order of the specification, contiguous; out is of the size that
// the specification gives. threads: at most so many.
TERCELET_EXPORT int tercelet_cpu_call(const char* op, const int64_t* shapes, int64_t shape_numbers,
                                      const int64_t* attributes, int64_t attribute_numbers, const void* const* in,
                                      void* const* out, int threads) {
  using tercelet::CountedLists;
  const tercelet::Call call{CountedLists(shapes, shape_numbers), CountedLists(attributes, attribute_numbers), in, out,
                            tercelet::Threads{threads}};
  const tercelet::CallStatus status = tercelet::visit_op(op, call);
  return status == tercelet::kUnknownOp
             ? tercelet::fail(status, op ? op : "(null)", "", "expected the name of an op")
             : status;
}
