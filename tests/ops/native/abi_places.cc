// Compiles if onnxruntime_abi.h says of ONNX Runtime's C interface what the engine's own header says.
//
// TERCELET_PLANTED_FAULT compares one function with the place of its neighbour, to see that this does not compile.
#include <onnxruntime_c_api.h>

#include <type_traits>

#include "onnxruntime_abi.h"

namespace tercelet {
namespace ort {

template <class F>
struct Arity;
template <class R, class... A>
struct Arity<R (*)(A...)> {
  static constexpr size_t value = sizeof...(A);
};
template <class R, class... A>
struct Arity<R (*)(A...) noexcept> {
  static constexpr size_t value = sizeof...(A);
};

#define TERCELET_FUNCTION(name)                                                                                   \
  static_assert(name::place * sizeof(void*) == offsetof(OrtApi, name), "wrong place of " #name);                  \
  static_assert(Arity<name::type>::value == Arity<decltype(OrtApi::name)>::value, "wrong arguments of " #name);
TERCELET_FUNCTION(CreateStatus)
TERCELET_FUNCTION(ReleaseStatus)
TERCELET_FUNCTION(GetTensorMutableData)
TERCELET_FUNCTION(GetDimensionsCount)
TERCELET_FUNCTION(GetDimensions)
TERCELET_FUNCTION(GetTensorTypeAndShape)
TERCELET_FUNCTION(ReleaseTensorTypeAndShapeInfo)
TERCELET_FUNCTION(CreateCustomOpDomain)
TERCELET_FUNCTION(CustomOpDomain_Add)
TERCELET_FUNCTION(AddCustomOpDomain)
TERCELET_FUNCTION(KernelInfoGetAttribute_float)
TERCELET_FUNCTION(KernelInfoGetAttribute_int64)
TERCELET_FUNCTION(KernelInfoGetAttribute_string)
TERCELET_FUNCTION(KernelInfoGetAttributeArray_int64)
TERCELET_FUNCTION(KernelContext_GetInput)
TERCELET_FUNCTION(KernelContext_GetOutput)
TERCELET_FUNCTION(KernelInfoGetConstantInput_tensor)
TERCELET_FUNCTION(KernelContext_ParallelFor)
#if defined(TERCELET_PLANTED_FAULT)
static_assert(GetDimensions::place * sizeof(void*) == offsetof(OrtApi, GetDimensionsCount), "planted");
#endif

#define TERCELET_MEMBER(mine, theirs)                                                              \
  static_assert(offsetof(CustomOp, mine) == offsetof(OrtCustomOp, theirs), "wrong place of " #mine); \
  static_assert(sizeof(CustomOp::mine) == sizeof(OrtCustomOp::theirs), "wrong size of " #mine);
#define TERCELET_METHOD(mine, theirs) \
  TERCELET_MEMBER(mine, theirs)       \
  static_assert(Arity<decltype(CustomOp::mine)>::value == Arity<decltype(OrtCustomOp::theirs)>::value, "arguments");
TERCELET_MEMBER(version, version)
TERCELET_METHOD(create_kernel, CreateKernel)
TERCELET_METHOD(get_name, GetName)
TERCELET_METHOD(get_provider, GetExecutionProviderType)
TERCELET_METHOD(get_input_type, GetInputType)
TERCELET_METHOD(get_input_count, GetInputTypeCount)
TERCELET_METHOD(get_output_type, GetOutputType)
TERCELET_METHOD(get_output_count, GetOutputTypeCount)
TERCELET_METHOD(compute, KernelCompute)
TERCELET_METHOD(destroy, KernelDestroy)
TERCELET_METHOD(get_input_characteristic, GetInputCharacteristic)
TERCELET_METHOD(get_output_characteristic, GetOutputCharacteristic)
TERCELET_METHOD(get_input_memory, GetInputMemoryType)
TERCELET_METHOD(get_variadic_input_minimum, GetVariadicInputMinArity)
TERCELET_METHOD(is_variadic_input_homogeneous, GetVariadicInputHomogeneity)
TERCELET_METHOD(get_variadic_output_minimum, GetVariadicOutputMinArity)
TERCELET_METHOD(is_variadic_output_homogeneous, GetVariadicOutputHomogeneity)
TERCELET_METHOD(create_kernel_v2, CreateKernelV2)
TERCELET_METHOD(compute_v2, KernelComputeV2)
TERCELET_METHOD(infer_output_shape, InferOutputShapeFn)
TERCELET_METHOD(get_start_version, GetStartVersion)
TERCELET_METHOD(get_end_version, GetEndVersion)
TERCELET_METHOD(get_may_inplace, GetMayInplace)
TERCELET_METHOD(release_may_inplace, ReleaseMayInplace)
TERCELET_METHOD(get_alias_map, GetAliasMap)
TERCELET_METHOD(release_alias_map, ReleaseAliasMap)
static_assert(sizeof(CustomOp) == offsetof(CustomOp, release_alias_map) + sizeof(void*), "a member is not compared");

static_assert(offsetof(ApiBase, get_api) == offsetof(OrtApiBase, GetApi), "wrong place of get_api");
static_assert(offsetof(ApiBase, get_version) == offsetof(OrtApiBase, GetVersionString), "wrong place of get_version");
static_assert(kApiVersion <= ORT_API_VERSION, "this header is older than the version that the library asks for");
static_assert(kFail == ORT_FAIL && kInvalidArgument == ORT_INVALID_ARGUMENT, "wrong error codes");
static_assert(kFloatTensor == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, "wrong type");
static_assert(kIntegerTensor == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, "wrong type");
static_assert(kRequired == INPUT_OUTPUT_REQUIRED, "wrong characteristic");
static_assert(kDefaultMemory == OrtMemTypeDefault, "wrong kind of memory");
static_assert(sizeof(int) == sizeof(OrtErrorCode) && sizeof(int) == sizeof(ONNXTensorElementDataType) &&
                  sizeof(int) == sizeof(OrtCustomOpInputOutputCharacteristic) && sizeof(int) == sizeof(OrtMemType),
              "the engine's enumerations are passed as int");

}  // namespace ort
}  // namespace tercelet

int main() { return 0; }
