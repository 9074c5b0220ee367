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
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "flat_call.h"
#include "simd.h"

namespace tercelet {
namespace {

constexpr double kTolerance = 1e-4;  // sums in another order; anything wrong is off by orders of magnitude
constexpr int64_t kLargestOperand = 1 << 19;
constexpr int64_t kMostProducts = 1 << 24;  // keeps one run below a second
constexpr int64_t kLarge = 160 * 1024;       // floats of a map that no window of rows holds at once (akconv/cpu.h)
constexpr float kUnwritten = -7.0319e20f;
#if defined(TERCELET_PLANTED_FAULT)
int planted_fault = 0;
#endif

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t bits() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // low <= result <= high
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(bits() % static_cast<uint64_t>(high - low + 1));
  }
  bool one_in(int64_t count) { return between(1, count) == 1; }
  float uniform() { return static_cast<float>(bits() >> 40) * (1.0f / 16777216.0f); }
  float normal() {  // near enough
    float sum = -6.0f;
    for (int index = 0; index < 12; ++index) sum += uniform();
    return sum;
  }
  int64_t any_integer() {
    const int64_t edges[] = {0, 1, -1, 2, 64, 65, 128, 129, 1 << 20, (1 << 20) - 1, INT32_MAX, INT32_MIN,
                             int64_t{INT32_MAX} + 1, INT64_MAX, INT64_MIN};
    if (one_in(3)) return edges[between(0, 14)];
    return one_in(4) ? static_cast<int64_t>(bits()) : between(-3, 40);
  }

 private:
  uint64_t state_;
};

// Attributes drawn from nothing, or given ones of which some are changed; handed to Op::read.
struct RandomReader {
  Random& random;
  int64_t change_one_in;  // 1 draws everything anew

  bool integer(const char*, bool, int64_t, int64_t* value) {
    if (random.one_in(change_one_in)) *value = random.any_integer();
    return true;
  }
  bool choice(const char*, const Choices& choices, int64_t, int64_t* value) {
    if (random.one_in(change_one_in)) *value = random.between(0, choices.count - 1);
    return true;
  }
  bool integers(const char*, Ints* list) {
    if (random.one_in(change_one_in)) {
      const int32_t before = list->size;
      list->size = static_cast<int32_t>(random.one_in(2) ? random.between(0, kMaximumInts) : before);
      for (int32_t index = before; index < list->size; ++index) {
        list->value[index] = static_cast<int32_t>(random.bits());
      }
      if (list->size) list->value[random.between(0, list->size - 1)] = static_cast<int32_t>(random.any_integer());
    }
    return true;
  }
};

// Writes attributes down as flat_call.h reads them.
struct ListWriter {
  std::vector<int64_t>* list;

  bool integer(const char*, bool, int64_t, int64_t* value) {
    list->insert(list->end(), {1, *value});
    return true;
  }
  bool choice(const char* name, const Choices&, int64_t, int64_t* value) { return integer(name, false, 0, value); }
  bool integers(const char*, Ints* values) {
    list->push_back(values->size);
    list->insert(list->end(), values->value, values->value + values->size);
    return true;
  }
};

// A side, and the channels that go with it: mostly small, now and then so large that a window has to move.
struct Sizes {
  int64_t height, width, channels;
};

Sizes sizes_of(Random& random) {
  if (random.one_in(12)) return {random.between(150, 900), random.between(1, 24), random.between(17, 40)};
  if (random.one_in(12)) return {random.between(1, 70), random.between(100, 400), random.between(8, 20)};
  return {random.between(1, 24), random.between(1, 40), random.between(1, 36)};
}

// Dims and attributes that an op is likely to take. An op without such a function gets what is drawn at random.
template <class Dims, class Attributes>
void fit(Random&, Dims*, Attributes*) {}

void fit(Random& random, akconv_sample::Dims* d, akconv_sample::Attributes* a) {
  const Sizes sizes = sizes_of(random);
  a->stride = random.one_in(6) ? random.between(1, 50) : random.between(1, 3);
  a->grid = random.one_in(4);
  d->B = random.between(1, 3), d->C = sizes.channels, d->H = sizes.height, d->W = sizes.width;
  const bool is_large = d->H * d->W > 2000;  // then little of everything else
  d->N = is_large ? random.between(1, 3) : random.one_in(10) ? random.between(1, 64) : random.between(1, 6);
  d->h = (d->H + a->stride - 1) / a->stride, d->w = (d->W + a->stride - 1) / a->stride;
  if (random.one_in(20)) *(random.one_in(2) ? &d->B : &d->C) = 0;
  if (random.one_in(20)) *(random.one_in(2) ? &d->H : &d->W) = 0;
  d->h = d->H ? d->h : 0, d->w = d->W ? d->w : 0;
  a->taps.size = static_cast<int32_t>(2 * d->N);
  const int64_t reach = random.one_in(5) ? 1 << 21 : random.one_in(3) ? 40 : 4;
  for (int32_t index = 0; index < a->taps.size; ++index) {
    a->taps.value[index] = static_cast<int32_t>(random.between(-reach / 2 + 1, reach / 2 - 1));
  }
}

void fit(Random& random, akconv::Dims* d, akconv::Attributes* a) {
  akconv_sample::Dims dims{};
  akconv_sample::Attributes attributes{};
  fit(random, &dims, &attributes);
  d->B = dims.B, d->C = dims.C, d->H = dims.H, d->W = dims.W, d->N = dims.N, d->h = dims.h, d->w = dims.w;
  d->O = random.one_in(30) ? 0 : random.between(1, d->H * d->W > 2000 ? 9 : 70);
  a->strides.size = 2, a->pads.size = 4;
  a->strides.value[0] = a->strides.value[1] = static_cast<int32_t>(attributes.stride);
  a->pads.value[0] = a->pads.value[2] = 0;
  a->pads.value[1] = a->pads.value[3] = static_cast<int32_t>(d->N - 1);
  a->grid = attributes.grid, a->taps = attributes.taps;
}

int64_t count_of(const Shape& shape) {
  int64_t count = 1;
  for (int axis = 0; axis < shape.rank; ++axis) {
    if (shape.size[axis] < 0 || shape.size[axis] > kLargestOperand) return kLargestOperand + 1;
    count *= shape.size[axis];
    if (count > kLargestOperand) return count;
  }
  return count;
}

// Features near one; everything else (offsets) mostly some pixels, and whatever a float can be now and then.
std::unique_ptr<float[]> values_of(Random& random, int64_t count, bool is_feature, bool is_list) {
  std::unique_ptr<float[]> values(new float[static_cast<size_t>(count)]);
  const bool is_broken = random.one_in(is_feature ? 8 : 3), is_whole = random.one_in(4);
  const float infinity = std::numeric_limits<float>::infinity();
  const float edges[] = {NAN,     infinity, -infinity, 3.4e38f, -3.4e38f, 1e-42f, -1e-42f, 0.0f,
                         -0.0f,   2147483648.0f, -2147483648.0f, 1048576.0f, 8388607.5f, 0.99999994f, -1e9f};
  const float scale = is_feature ? 0.5f : random.one_in(3) ? 40.0f : 1.5f;
  for (int64_t index = 0; index < count; ++index) {
    values[index] = random.normal() * scale;
    if (!is_feature && is_whole) values[index] = floorf(values[index]);
    // Sums of huge features overflow or not, depending on their order: those stay out.
    if (is_broken && random.one_in(40)) values[index] = edges[random.between(0, is_feature ? 2 : 14)];
  }
  // One number out of line; a huge one only in a list such as a bias, which is added once and cannot cancel.
  if (is_feature && count && random.one_in(6)) {
    values[random.between(0, count - 1)] = is_list && random.one_in(2) ? -1e38f : -100.0f;
  }
  return values;
}

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
      for (int64_t place = 0; place < count; ++place) data[index][place] = kUnwritten;
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
      const float want = plain.data[index][place], got = quick.data[index][place];
      if ((want != want && got != got) || want == got) continue;
      const double size = fabs(static_cast<double>(want));
      const double difference = fabs(static_cast<double>(got) - want) / (size > 1 ? size : 1);
      if (!(difference <= kTolerance)) {
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
        if (fast.run(Op::template kernel<float>(call.dims, call.attributes, call.in, quick.out), threads)) {
#if defined(TERCELET_PLANTED_FAULT)
          if (planted_fault == 2 && call.counts[0] > 7) quick.data[0][7] += 0.001f;
#endif
          compare(call, plain, quick, name_of(simd), seed, counts);
          ++counts->quick;
        } else {
          for (int64_t place = 0; place < call.counts[0]; ++place) {
            if (quick.data[0][place] != kUnwritten) fail(Op::kName, seed, "it declined, and wrote all the same");
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
      data[index] = values_of(random, count_of(shapes[index]), true, false);
      constant[index] = data[index].get();
    }
    typename Op::Fast().prepare(attributes, shapes, constant);
  }
};

template <class Op>
void run_call(Random& random, Prepared<Op>* call, uint64_t seed, Counts* counts) {
  for (int index = 0; index < Op::kOutputs; ++index) {
    call->counts[index] = count_of(Op::output_shape(index, call->dims));
    if (call->counts[index] > kLargestOperand) return;
  }
  int64_t products = 1;  // an upper limit: of the largest weights, at every place of the offsets
  for (int index = 0; index < Op::kInputs; ++index) {
    const int64_t count = count_of(call->shapes[index]);
    if (count > kLargestOperand) return;
    if (index >= 2 && count > products) products = count;
  }
  for (int axis = 2; axis < call->shapes[1].rank; ++axis) products *= call->shapes[1].size[axis];
  if (products > kMostProducts) return;
  for (int index = 0; index < Op::kInputs; ++index) {
    const OperandRule& rule = Op::kOperands[index];
    call->inputs[index] = values_of(random, count_of(call->shapes[index]), rule.is_feature, rule.rank == 1);
    call->in[index] = call->inputs[index].get();
  }
  Outputs<Op> plain(*call);
  const auto kernel = Op::template kernel<float>(call->dims, call->attributes, call->in, plain.out);
  for (int64_t index = 0; index < kernel.items(); ++index) kernel.item(index);
  for (int index = 0; index < Op::kOutputs; ++index) {
    for (int64_t place = 0; place < call->counts[index]; ++place) {
      if (plain.data[index][place] != kUnwritten) continue;
      fail(Op::kName, seed, "place " + std::to_string(place) + " unwritten");
    }
  }
  ++counts->ran;
  counts->large += count_of(call->shapes[0]) > kLarge;
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
