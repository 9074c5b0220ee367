// A seeded fuzzer of every kernel.h, of the quick CPU forms beside them, and of the parser in flat_call.h.
//
//   tercelet_ops_fuzz SEED ITERATIONS SECONDS
//
// Stops at whichever comes first. Every buffer has exactly the size that an op may touch, so that AddressSanitizer
// (TERCELET_SANITIZE=ON) sees whatever goes beyond it. What bind and check let through must run in bounds and write
// all of its outputs; every quick form must give what the plain one gives. Exit status 1 and a sentence otherwise.
// Built with TERCELET_PLANTED_FAULT it takes a fourth argument and is wrong on purpose: 1 shortens outputs by one
// number, 2 spoils a result.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "flat_call.h"
#include "fuzz_draws.h"
#include "simd.h"

namespace tercelet {
namespace {

constexpr double kTolerance = 1e-4;  // sums in another order; anything wrong is off by orders of magnitude
constexpr float kUnwritten = -7.0319e20f;
#if defined(TERCELET_PLANTED_FAULT)
int planted_fault = 0;
#endif

int32_t unwritten_bits() { return bits_of(&kUnwritten); }

// Writes attributes down as flat_call.h reads them.
struct ListWriter {
  std::vector<int64_t>* list;

  bool integer(const char*, bool, int64_t, int64_t* value) {
    list->insert(list->end(), {1, *value});
    return true;
  }
  bool real(const char*, bool, float, float* value) {
    int32_t bits = 0;
    memcpy(&bits, value, sizeof bits);
    list->insert(list->end(), {1, bits});
    return true;
  }
  bool choice(const char* name, const Choices&, int64_t, int64_t* value) { return integer(name, false, 0, value); }
  bool integers(const char*, Ints* values) {
    list->push_back(values->size);
    list->insert(list->end(), values->value, values->value + values->size);
    return true;
  }
};

struct Counts {
  int64_t drawn = 0, refused = 0, ran = 0, quick = 0, declined = 0, large = 0, compared = 0, parsed = 0, unparsed = 0;
  double worst = 0;
};

[[noreturn]] void fail(const char* op, uint64_t seed, const std::string& what) {
  printf("%s: iteration seed %" PRIu64 ": %s\n", op, seed, what.c_str());
  fflush(stdout);
  exit(1);
}

// A call whose memory is there.
template <class Op>
struct Prepared {
  typename Op::Dims dims;
  typename Op::Attributes attributes;
  Shape shapes[Op::kInputs];
  std::unique_ptr<float[]> inputs[Op::kInputs];
  const void* in[Op::kInputs];
  int64_t counts[Op::kOutputs];
};

// Scratch memory of exactly the size that a call needs.
template <class Op>
std::unique_ptr<float[]> scratch_of(const Prepared<Op>& call) {
  return std::unique_ptr<float[]>(new float[static_cast<size_t>(Op::scratch_floats(call.dims, call.attributes))]);
}

// Outputs of exactly the size they must have, filled with what no kernel writes.
template <class Op>
struct Outputs {
  std::unique_ptr<float[]> data[Op::kOutputs];
  void* out[Op::kOutputs];

  explicit Outputs(const Prepared<Op>& call) {
    for (int index = 0; index < Op::kOutputs; ++index) {
      int64_t count = call.counts[index];
#if defined(TERCELET_PLANTED_FAULT)
      count -= planted_fault == 1 && count > 0;
#endif
      data[index].reset(new float[static_cast<size_t>(count)]);
      for (int64_t place = 0; place < count; ++place) memcpy(&data[index][place], &kUnwritten, sizeof kUnwritten);
      out[index] = data[index].get();
    }
  }
};

// Work on fresh threads, so that the memory a thread keeps has exactly the size that this call needs.
struct Threads {
  bool at_once;

  template <class Work>
  void run(int64_t count, const Work& work) const {
    std::vector<std::thread> threads;
    for (int64_t index = 0; index < count; ++index) {
      threads.emplace_back([&work, index] { work(index); });
      if (!at_once || threads.size() == 8) {
        for (std::thread& thread : threads) thread.join();
        threads.clear();
      }
    }
    for (std::thread& thread : threads) thread.join();
  }
};

template <class Op>
void compare(const Prepared<Op>& call, const Outputs<Op>& plain, const Outputs<Op>& quick, const char* which,
             uint64_t seed, Counts* counts) {
  for (int index = 0; index < Op::kOutputs; ++index) {
    for (int64_t place = 0; place < call.counts[index]; ++place) {
      if (Op::kOperands[Op::kInputs + index].kind == kInteger) {
        const int32_t want = bits_of(&plain.data[index][place]), got = bits_of(&quick.data[index][place]);
        if (want == got) continue;
        fail(Op::kName, seed, std::string(which) + ": expected " + std::to_string(want) + ", got " +
                                  std::to_string(got) + " at place " + std::to_string(place));
      }
      const float want = plain.data[index][place], got = quick.data[index][place];
      if ((want != want && got != got) || want == got) continue;
      const double size = fabs(static_cast<double>(want));
      const double difference = fabs(static_cast<double>(got) - want) / (size > 1 ? size : 1);
      if (!(difference <= kTolerance * sums_of(typename Op::Dims{}))) {
        fail(Op::kName, seed, std::string(which) + ": expected " + std::to_string(want) + ", got " +
                                  std::to_string(got) + " at place " + std::to_string(place));
      }
      counts->worst = difference > counts->worst ? difference : counts->worst;
    }
    counts->compared += call.counts[index];
  }
}

template <class Op, bool kIsFast = Op::kHasFastCpu>
struct Quick {
  static void run(Random&, const Prepared<Op>&, const Outputs<Op>&, uint64_t, Counts*) {}
  static void prepare_anything(Random&, const typename Op::Attributes&) {}
};

template <class Op>
struct Quick<Op, true> {
  static void run(Random& random, const Prepared<Op>& call, const Outputs<Op>& plain, uint64_t seed, Counts* counts) {
    for (const Simd simd : {Simd::plain, Simd::avx2, Simd::avx512}) {
      if (!runs_here(simd)) continue;
      for (const int constants : {0, 1, 2}) {  // none, all, some
        if (constants == 2 && !random.one_in(4)) continue;
        const void* constant[Op::kInputs] = {};
        for (int index = 0; index < Op::kInputs; ++index) {
          if (constants == 1 || (constants == 2 && random.one_in(2))) constant[index] = call.in[index];
        }
        typename Op::Fast fast(simd);
        fast.prepare(call.attributes, call.shapes, constant);
        Outputs<Op> quick(call);
        const Threads threads{random.one_in(2)};
        const auto scratch = scratch_of(call);
        const auto kernel =
            Op::template kernel<float>(call.dims, call.attributes, call.in, quick.out, scratch.get());
        if (fast.run(kernel, threads)) {
#if defined(TERCELET_PLANTED_FAULT)
          if (planted_fault == 2 && call.counts[0] > 7) quick.data[0][7] += 0.001f;
#endif
          compare(call, plain, quick, name_of(simd), seed, counts);
          ++counts->quick;
        } else {
          for (int64_t place = 0; place < call.counts[0]; ++place) {
            if (bits_of(&quick.data[0][place]) != unwritten_bits()) fail(Op::kName, seed, "it declined, and wrote all the same");
          }
          ++counts->declined;
        }
      }
    }
  }

  // An engine hands constants over before it has compared any shapes.
  static void prepare_anything(Random& random, const typename Op::Attributes& attributes) {
    Shape shapes[Op::kInputs];
    std::unique_ptr<float[]> data[Op::kInputs];
    const void* constant[Op::kInputs] = {};
    for (int index = 0; index < Op::kInputs; ++index) {
      shapes[index].rank = static_cast<int32_t>(random.one_in(3) ? random.between(0, kMaximumRank)
                                                                 : Op::kOperands[index].rank);
      for (int axis = 0; axis < shapes[index].rank; ++axis) {
        shapes[index].size[axis] = random.one_in(3) ? 1 : random.between(0, 20);
      }
      if (count_of(shapes[index]) > kLargestOperand || random.one_in(5)) continue;
      const OperandKind kind = Op::kOperands[index].kind;
      data[index] = values_of(random, count_of(shapes[index]), kind == kInteger ? kind : kFeature, false);
      constant[index] = data[index].get();
    }
    typename Op::Fast().prepare(attributes, shapes, constant);
  }
};

template <class Op>
void run_call(Random& random, Prepared<Op>* call, uint64_t seed, Counts* counts) {
  for (int index = 0; index < Op::kOutputs; ++index) {
    call->counts[index] = count_of(Op::output_shape(index, call->dims, call->attributes));
    if (call->counts[index] > kLargestOperand) return;
  }
  for (int index = 0; index < Op::kInputs; ++index) {
    if (count_of(call->shapes[index]) > kLargestOperand) return;
  }
  if (products_of(call->dims, call->attributes, call->shapes, Op::kInputs) > kMostProducts) return;
  for (int index = 0; index < Op::kInputs; ++index) {
    const OperandRule& rule = Op::kOperands[index];
    const OperandKind kind = kind_drawn(call->dims, rule.kind);
    call->inputs[index] = values_of(random, count_of(call->shapes[index]), kind, rule.rank == 1);
    call->in[index] = call->inputs[index].get();
  }
  Outputs<Op> plain(*call);
  const auto scratch = scratch_of(*call);
  const auto kernel = Op::template kernel<float>(call->dims, call->attributes, call->in, plain.out, scratch.get());
  for (int64_t index = 0; index < kernel.items(); ++index) kernel.item(index);
  for (int index = 0; index < Op::kOutputs; ++index) {
    for (int64_t place = 0; place < call->counts[index]; ++place) {
      if (bits_of(&plain.data[index][place]) != unwritten_bits()) continue;
      fail(Op::kName, seed, "place " + std::to_string(place) + " unwritten");
    }
  }
  ++counts->ran;
  counts->large += is_large(call->dims, count_of(call->shapes[0]));
  Quick<Op>::run(random, *call, plain, seed, counts);
}

// Lists as flat_call.h takes them: nearly right ones, and numbers that mean nothing.
template <class Op>
void parse_lists(Random& random, const Prepared<Op>& call, Counts* counts) {
  std::vector<int64_t> lists[2];
  for (int index = 0; index < Op::kInputs; ++index) {
    lists[0].push_back(call.shapes[index].rank);
    lists[0].insert(lists[0].end(), call.shapes[index].size, call.shapes[index].size + call.shapes[index].rank);
  }
  typename Op::Attributes given = call.attributes;
  ListWriter writer{&lists[1]};
  Op::read(writer, &given);
  for (std::vector<int64_t>& list : lists) {
    if (random.one_in(6)) list.resize(static_cast<size_t>(random.between(0, static_cast<int64_t>(list.size()) + 3)));
    if (random.one_in(6) && !list.empty()) {
      list[static_cast<size_t>(random.between(0, static_cast<int64_t>(list.size()) - 1))] = random.any_integer();
    }
    if (random.one_in(6)) {
      for (int64_t& number : list) number = random.any_integer();
    }
  }
  const auto exact = [](const std::vector<int64_t>& list) {
    std::unique_ptr<int64_t[]> copy(new int64_t[list.size()]);
    for (size_t index = 0; index < list.size(); ++index) copy[index] = list[index];
    return copy;
  };
  const auto shapes = exact(lists[0]), attributes = exact(lists[1]);
  typename Op::Dims dims{};
  typename Op::Attributes values{};
  Problem problem;
  const CountedLists first(shapes.get(), static_cast<int64_t>(lists[0].size()));
  const CountedLists second(attributes.get(), static_cast<int64_t>(lists[1].size()));
  const CallStatus status = read_call<Op>(first, second, &dims, &values, &problem);
  if (status != kDone && (problem.what == nullptr || problem.where == nullptr)) {
    fail(Op::kName, 0, "refused without words");
  }
  ++(status == kDone ? counts->parsed : counts->unparsed);
}

template <class Op>
void iterate(uint64_t seed, Counts* counts) {
  using Dims = typename Op::Dims;
  static_assert(sizeof(Dims) == Op::kSymbols * sizeof(int64_t), "one number for each symbol");
  Random random(seed);
  Prepared<Op> call{};
  int64_t symbols[Op::kSymbols];
  for (int64_t& symbol : symbols) symbol = random.one_in(9) ? random.any_integer() : random.between(0, 9);
  memcpy(&call.dims, symbols, sizeof symbols);
  RandomReader drawn{random, 1};
  Op::read(drawn, &call.attributes);
  if (!random.one_in(8)) fit(random, &call.dims, &call.attributes);
  if (random.one_in(4)) {
    RandomReader changed{random, 4};
    Op::read(changed, &call.attributes);
  }
  memcpy(symbols, &call.dims, sizeof symbols);
  if (random.one_in(4)) symbols[random.between(0, Op::kSymbols - 1)] = random.any_integer();
  for (int index = 0; index < Op::kInputs; ++index) {
    const OperandRule& rule = Op::kOperands[index];
    for (int64_t& symbol : symbols) symbol = symbol > (int64_t{1} << 60) ? int64_t{1} << 60 : symbol < -9 ? -9 : symbol;
    call.shapes[index] = shape_from_symbols(rule, symbols);
    if (random.one_in(20)) call.shapes[index].rank = static_cast<int32_t>(random.between(0, kMaximumRank));
    if (random.one_in(20)) call.shapes[index].size[random.between(0, kMaximumRank - 1)] = random.any_integer();
  }
  ++counts->drawn;
  for (int repeat = 0; repeat < 4; ++repeat) parse_lists<Op>(random, call, counts);
  if (random.one_in(4)) Quick<Op>::prepare_anything(random, call.attributes);
  if (Op::bind(call.shapes, &call.dims) != nullptr || Op::check(call.dims, call.attributes) != nullptr) {
    ++counts->refused;
    return;
  }
  run_call<Op>(random, &call, seed, counts);
}

template <class Op>
void run_op(uint64_t seed, int64_t iterations, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  Counts counts;
  Random seeds(seed);
  for (int64_t index = 0; index < iterations && Clock::now() < end; ++index) iterate<Op>(seeds.bits(), &counts);
  printf("%s: drawn %" PRId64 " refused %" PRId64 " ran %" PRId64 " quick %" PRId64 " declined %" PRId64
         " large %" PRId64 " compared %" PRId64 " parsed %" PRId64 " unparsed %" PRId64 " worst %.3g\n",
         Op::kName, counts.drawn, counts.refused, counts.ran, counts.quick, counts.declined, counts.large,
         counts.compared, counts.parsed, counts.unparsed, counts.worst);
  fflush(stdout);
}

}  // namespace
}  // namespace tercelet

int main(int count, char** arguments) {
  using namespace tercelet;
#if defined(TERCELET_PLANTED_FAULT)
  if (count == 5) planted_fault = atoi(arguments[--count]);
#endif
  if (count != 4) {
    fprintf(stderr, "expected SEED ITERATIONS SECONDS\n");
    return 2;
  }
  const uint64_t seed = strtoull(arguments[1], nullptr, 10);
  const int64_t iterations = strtoll(arguments[2], nullptr, 10);
  int ops = 0;
#define TERCELET_COUNT(Op) ++ops;
  TERCELET_FOR_EACH_OP(TERCELET_COUNT)
#undef TERCELET_COUNT
  const double seconds = strtod(arguments[3], nullptr) / ops;
#define TERCELET_RUN(Op) run_op<Op>(seed, iterations, seconds);
  TERCELET_FOR_EACH_OP(TERCELET_RUN)
#undef TERCELET_RUN
  return 0;
}
