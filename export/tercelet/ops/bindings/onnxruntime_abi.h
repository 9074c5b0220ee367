// The few functions of ONNX Runtime's C interface that a custom op needs, declared by their place in its table.
//
// The table only ever grows at its end, so that a library built with this page runs on every version since 1.17
// (the youngest function used). No package of the engine for Python carries its headers, and a robot should not
// need them. Places checked against the header of 1.21 by tests/ops/test_onnxruntime_abi.py, where it is at hand.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace tercelet {
namespace ort {

constexpr uint32_t kApiVersion = 17;
constexpr int kInvalidArgument = 2;  // OrtErrorCode
constexpr int kFail = 1;
constexpr int kFloatTensor = 1;  // ONNXTensorElementDataType
constexpr int kIntegerTensor = 6;  // of 32 bits
constexpr int kRequired = 0;     // OrtCustomOpInputOutputCharacteristic
constexpr int kDefaultMemory = 0;

struct Status;
struct Value;
struct TensorInfo;
struct SessionOptions;
struct OpDomain;
struct KernelInfo;
struct KernelContext;
using Function = void (*)();

struct ApiBase {
  const Function* (*get_api)(uint32_t version);
  const char* (*get_version)();
};

// Place in the table and type of each function.
struct CreateStatus {
  static constexpr int place = 0;
  using type = Status* (*)(int code, const char* message);
};
struct ReleaseStatus {
  static constexpr int place = 93;
  using type = void (*)(Status*);
};
struct GetTensorMutableData {
  static constexpr int place = 51;
  using type = Status* (*)(Value*, void** data);
};
struct GetDimensionsCount {
  static constexpr int place = 61;
  using type = Status* (*)(const TensorInfo*, size_t* count);
};
struct GetDimensions {
  static constexpr int place = 62;
  using type = Status* (*)(const TensorInfo*, int64_t* sizes, size_t count);
};
struct GetTensorTypeAndShape {
  static constexpr int place = 65;
  using type = Status* (*)(const Value*, TensorInfo**);
};
struct ReleaseTensorTypeAndShapeInfo {
  static constexpr int place = 99;
  using type = void (*)(TensorInfo*);
};
struct CreateCustomOpDomain {
  static constexpr int place = 26;
  using type = Status* (*)(const char* domain, OpDomain**);
};
struct CustomOpDomain_Add {
  static constexpr int place = 27;
  using type = Status* (*)(OpDomain*, const struct CustomOp*);
};
struct AddCustomOpDomain {
  static constexpr int place = 28;
  using type = Status* (*)(SessionOptions*, OpDomain*);
};
struct KernelInfoGetAttribute_float {
  static constexpr int place = 85;
  using type = Status* (*)(const KernelInfo*, const char* name, float*);
};
struct KernelInfoGetAttribute_int64 {
  static constexpr int place = 86;
  using type = Status* (*)(const KernelInfo*, const char* name, int64_t*);
};
struct KernelInfoGetAttribute_string {
  static constexpr int place = 87;
  using type = Status* (*)(const KernelInfo*, const char* name, char* text, size_t* size);
};
struct KernelInfoGetAttributeArray_int64 {
  static constexpr int place = 163;
  using type = Status* (*)(const KernelInfo*, const char* name, int64_t* values, size_t* count);
};
struct KernelContext_GetInput {
  static constexpr int place = 90;
  using type = Status* (*)(const KernelContext*, size_t index, const Value**);
};
struct KernelContext_GetOutput {
  static constexpr int place = 91;
  using type = Status* (*)(KernelContext*, size_t index, const int64_t* sizes, size_t count, Value**);
};
struct KernelInfoGetConstantInput_tensor {
  static constexpr int place = 249;
  using type = Status* (*)(const KernelInfo*, size_t index, int* is_constant, const Value**);
};
struct KernelContext_ParallelFor {
  static constexpr int place = 274;
  using type = Status* (*)(const KernelContext*, void (*work)(void*, size_t), size_t total, size_t batches, void*);
};

template <class F>
typename F::type function_of(const Function* api) {
  return reinterpret_cast<typename F::type>(api[F::place]);
}

// OrtCustomOp as of version 17: the engine reads as many members as `version` says.
struct CustomOp {
  uint32_t version;
  void* (*create_kernel)(const CustomOp*, const Function* api, const KernelInfo*);
  const char* (*get_name)(const CustomOp*);
  const char* (*get_provider)(const CustomOp*);
  int (*get_input_type)(const CustomOp*, size_t);
  size_t (*get_input_count)(const CustomOp*);
  int (*get_output_type)(const CustomOp*, size_t);
  size_t (*get_output_count)(const CustomOp*);
  void (*compute)(void* kernel, KernelContext*);
  void (*destroy)(void* kernel);
  int (*get_input_characteristic)(const CustomOp*, size_t);
  int (*get_output_characteristic)(const CustomOp*, size_t);
  int (*get_input_memory)(const CustomOp*, size_t);
  int (*get_variadic_input_minimum)(const CustomOp*);
  int (*is_variadic_input_homogeneous)(const CustomOp*);
  int (*get_variadic_output_minimum)(const CustomOp*);
  int (*is_variadic_output_homogeneous)(const CustomOp*);
  Status* (*create_kernel_v2)(const CustomOp*, const Function* api, const KernelInfo*, void** kernel);
  Status* (*compute_v2)(void* kernel, KernelContext*);
  Status* (*infer_output_shape)(const CustomOp*, void* context);
  int (*get_start_version)(const CustomOp*);
  int (*get_end_version)(const CustomOp*);
  size_t (*get_may_inplace)(int**, int**);
  void (*release_may_inplace)(int*, int*);
  size_t (*get_alias_map)(int**, int**);
  void (*release_alias_map)(int*, int*);
};

}  // namespace ort
}  // namespace tercelet
