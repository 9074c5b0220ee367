// The launcher that cuda.h declares, on the CPU: linked with tensorrt.cc it makes a plugin library whose enqueue works
// on host memory, so that all of a plugin but the launch itself runs where no GPU is.
#include <cuda_fp16.h>

#include "cuda.h"

namespace tercelet {

template <class Kernel>
const char* run_items(const Kernel& kernel) {
  for (int64_t index = 0; index < kernel.items(); ++index) kernel.item(index);
  return nullptr;
}

template <class Op>
const char* launch(FeatureType type, const typename Op::Dims& dims, const typename Op::Attributes& attributes,
                   const void* const* in, void* const* out, float* scratch, void*) {
  if (type == kHalfFeatures) return run_items(Op::template kernel<__half>(dims, attributes, in, out, scratch));
  return run_items(Op::template kernel<float>(dims, attributes, in, out, scratch));
}

#define TERCELET_INSTANTIATE(Op)                                                       \
  template const char* launch<Op>(FeatureType, const Op::Dims&, const Op::Attributes&, \
                                  const void* const*, void* const*, float*, void*);
TERCELET_FOR_EACH_OP(TERCELET_INSTANTIATE)
#undef TERCELET_INSTANTIATE

}  // namespace tercelet
