// The CUDA kernels of every op of the specifications: the items of kernel.h, spread over a grid.
#include "cuda.h"

#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#include <stdio.h>

#include "flat_call.h"

namespace tercelet {
namespace {

// Maps of a robot's network are small: few threads a block spread them over more multiprocessors.
constexpr int kThreads = 128;
constexpr int64_t kMaximumBlocks = int64_t{1} << 20;  // beyond them a thread does several items
constexpr int kTeam = 512;                            // threads of a team, a power of two

thread_local char last_message[512] = "";

CallStatus fail(CallStatus status, const char* where, const char* what) {
  snprintf(last_message, sizeof(last_message), "%s%s%s", where, *where ? ": " : "", what);
  return status;
}

CallStatus fail(const char* op, CallStatus status, const Problem& problem) {
  snprintf(last_message, sizeof(last_message), "%s: %s%s%s", op, problem.where, *problem.where ? ": " : "",
           problem.what);
  return status;
}

CallStatus status_of(cudaError_t error, const char* where) {
  return error == cudaSuccess ? kDone : fail(kDeviceFailed, where, cudaGetErrorString(error));
}

template <class Kernel>
__global__ void __launch_bounds__(kThreads) run_items(const Kernel kernel) {
  const int64_t items = kernel.items(), step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; index < items; index += step) {
    kernel.item(index);
  }
}

// A block of threads.
struct BlockTeam {
  Candidate* slots;  // kTeam of them, shared

  __device__ int64_t rank() const { return threadIdx.x; }
  __device__ int64_t size() const { return kTeam; }

  __device__ Candidate best(const Candidate& mine) const {
    const int own = static_cast<int>(threadIdx.x);
    slots[own] = mine;
    __syncthreads();
    for (int half = kTeam / 2; half > 0; half /= 2) {
      if (own < half && is_better(slots[own + half], slots[own])) slots[own] = slots[own + half];
      __syncthreads();
    }
    const Candidate found = slots[0];
    __syncthreads();  // before the slots are written again
    return found;
  }
};

template <class Kernel>
__global__ void __launch_bounds__(kTeam) run_teams(const Kernel kernel) {
  __shared__ Candidate slots[kTeam];
  for (int64_t index = blockIdx.x; index < kernel.items(); index += gridDim.x) kernel.item(index, BlockTeam{slots});
}

template <class Kernel>
const char* launch_kernel(Kernel kernel, void* stream) {
  const int64_t items = kernel.items();
  if (items == 0) return nullptr;  // a grid of no blocks is an error
  const void* function = nullptr;
  int64_t threads = kThreads, wanted = (items + kThreads - 1) / kThreads;
  if constexpr (IsForTeams<Kernel>::value) {
    function = reinterpret_cast<const void*>(&run_teams<Kernel>);
    threads = kTeam, wanted = items;
  } else {
    function = reinterpret_cast<const void*>(&run_items<Kernel>);
  }
  const dim3 blocks(static_cast<unsigned>(wanted < kMaximumBlocks ? wanted : kMaximumBlocks));
  void* arguments[] = {&kernel};
  // Not <<<>>>: the function returns its own error and leaves those of others alone.
  const cudaError_t error = cudaLaunchKernel(function, blocks, dim3(static_cast<unsigned>(threads)), arguments, 0,
                                             static_cast<cudaStream_t>(stream));
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

// Floats on the device for the time of a call.
class Scratch {
 public:
  explicit Scratch(int64_t floats) {
    if (floats > 0) error_ = cudaMalloc(reinterpret_cast<void**>(&data_), static_cast<size_t>(floats) * sizeof(float));
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    if (data_) cudaFree(data_);  // waits for the launches that use it
  }

  cudaError_t error() const { return error_; }
  float* data() const { return data_; }

 private:
  cudaError_t error_ = cudaSuccess;
  float* data_ = nullptr;
};

// A pair of events around work on a stream.
class Stopwatch {
 public:
  explicit Stopwatch(cudaStream_t stream) : stream_(stream) {}
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() {
    if (first_) cudaEventDestroy(first_);
    if (last_) cudaEventDestroy(last_);
  }

  cudaError_t start() {
    cudaError_t error = cudaEventCreate(&first_);
    if (error == cudaSuccess) error = cudaEventCreate(&last_);
    return error == cudaSuccess ? cudaEventRecord(first_, stream_) : error;
  }

  cudaError_t stop(float* milliseconds) {
    cudaError_t error = cudaEventRecord(last_, stream_);
    if (error == cudaSuccess) error = cudaEventSynchronize(last_);
    return error == cudaSuccess ? cudaEventElapsedTime(milliseconds, first_, last_) : error;
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t first_ = nullptr, last_ = nullptr;
};

// A call from C, ready to be launched.
struct Launch {
  FeatureType type;
  CountedLists shapes, attributes;
  const void* const* in;
  void* const* out;
  void* stream;
  int repeats;
  float* milliseconds;

  template <class Tag>
  CallStatus operator()(Tag) const {
    using Op = typename Tag::type;
    typename Op::Dims dims{};
    typename Op::Attributes values{};
    Problem problem;
    const CallStatus status = read_call<Op>(shapes, attributes, &dims, &values, &problem);
    if (status != kDone) return fail(Op::kName, status, problem);
    const Scratch scratch(Op::scratch_floats(dims, values));
    if (status_of(scratch.error(), Op::kName) != kDone) return kDeviceFailed;
    Stopwatch stopwatch(static_cast<cudaStream_t>(stream));
    if (milliseconds && status_of(stopwatch.start(), Op::kName) != kDone) return kDeviceFailed;
    for (int repeat = 0; repeat < repeats; ++repeat) {
      const char* const wrong = launch<Op>(type, dims, values, in, out, scratch.data(), stream);
      if (wrong) return fail(kDeviceFailed, Op::kName, wrong);
    }
    if (!milliseconds) return kDone;
    const CallStatus stopped = status_of(stopwatch.stop(milliseconds), Op::kName);
    *milliseconds /= static_cast<float>(repeats > 0 ? repeats : 1);
    return stopped;
  }
};

struct OutputShapes {
  CountedLists shapes, attributes;
  int64_t* numbers;
  int64_t room;

  template <class Tag>
  CallStatus operator()(Tag) const {
    using Op = typename Tag::type;
    typename Op::Dims dims{};
    typename Op::Attributes values{};
    Problem problem;
    const CallStatus status = read_call<Op>(shapes, attributes, &dims, &values, &problem);
    if (status != kDone) return fail(Op::kName, status, problem);
    int64_t place = 0;
    for (int index = 0; index < Op::kOutputs; ++index) {
      const Shape shape = Op::output_shape(index, dims, values);
      if (place + 1 + shape.rank > room) return fail(kWrongShape, Op::kName, "expected more room for the shapes");
      numbers[place++] = shape.rank;
      for (int axis = 0; axis < shape.rank; ++axis) numbers[place++] = shape.size[axis];
    }
    return kDone;
  }
};

template <class Visitor>
CallStatus visit_or_fail(const char* op, const Visitor& visitor) {
  const CallStatus status = visit_op(op, visitor);
  return status == kUnknownOp ? fail(kUnknownOp, op ? op : "(null)", "expected the name of an op") : status;
}

}  // namespace

template <class Op>
const char* launch(FeatureType type, const typename Op::Dims& dims, const typename Op::Attributes& attributes,
                   const void* const* in, void* const* out, float* scratch, void* stream) {
  if (type == kHalfFeatures) {
    return launch_kernel(Op::template kernel<__half>(dims, attributes, in, out, scratch), stream);
  }
  return launch_kernel(Op::template kernel<float>(dims, attributes, in, out, scratch), stream);
}

#define TERCELET_INSTANTIATE(Op)                                                               \
  template const char* launch<Op>(FeatureType, const Op::Dims&, const Op::Attributes&,          \
                                  const void* const*, void* const*, float*, void*);
TERCELET_FOR_EACH_OP(TERCELET_INSTANTIATE)
#undef TERCELET_INSTANTIATE

}  // namespace tercelet

using namespace tercelet;

const char* tercelet_cuda_message() { return last_message; }

int tercelet_cuda_output_shapes(const char* op, const int64_t* shapes, int64_t shape_numbers,
                                const int64_t* attributes, int64_t attribute_numbers, int64_t* output_shapes,
                                int64_t output_room) {
  return visit_or_fail(op, OutputShapes{{shapes, shape_numbers}, {attributes, attribute_numbers}, output_shapes,
                                        output_room});
}

int tercelet_cuda_launch(const char* op, int feature_type, const int64_t* shapes, int64_t shape_numbers,
                         const int64_t* attributes, int64_t attribute_numbers, const void* const* in,
                         void* const* out, void* stream, int repeats, float* milliseconds) {
  if (feature_type != kFloatFeatures && feature_type != kHalfFeatures) {
    return fail(kWrongFeatureType, "feature type", "expected 0 for float or 1 for half");
  }
  return visit_or_fail(op, Launch{static_cast<FeatureType>(feature_type), {shapes, shape_numbers},
                                  {attributes, attribute_numbers}, in, out, stream, repeats, milliseconds});
}

int tercelet_cuda_device_name(char* text, int64_t room) {
  int device = 0;
  cudaDeviceProp properties;
  if (status_of(cudaGetDevice(&device), "device") != kDone) return kDeviceFailed;
  if (status_of(cudaGetDeviceProperties(&properties, device), "device") != kDone) return kDeviceFailed;
  snprintf(text, static_cast<size_t>(room), "%s", properties.name);
  return kDone;
}

int tercelet_cuda_allocate(int64_t bytes, void** pointer) {
  return status_of(cudaMalloc(pointer, static_cast<size_t>(bytes > 0 ? bytes : 1)), "allocate");
}

int tercelet_cuda_free(void* pointer) { return status_of(cudaFree(pointer), "free"); }

int tercelet_cuda_copy(void* target, const void* source, int64_t bytes) {
  const cudaError_t error = cudaMemcpy(target, source, static_cast<size_t>(bytes), cudaMemcpyDefault);
  const CallStatus copied = status_of(error, "copy");
  return copied == kDone ? tercelet_cuda_synchronize() : copied;
}

int tercelet_cuda_synchronize() { return status_of(cudaDeviceSynchronize(), "synchronize"); }
