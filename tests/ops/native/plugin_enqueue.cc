// Runs plugins the way an engine does: created, serialized, created again, attached, told its shapes, enqueued.
//
//   plugin_enqueue LIBRARY CASES IS_HALF INPUTS OUTPUTS
//
// LIBRARY: with the launcher of launch_on_host.cc. INPUTS: those of all cases, one after the other; OUTPUTS is written.
#include <fstream>

#include "plugin_case.h"

namespace check {
namespace {

using nvinfer1::DataType;
using nvinfer1::TensorRTPhase;

std::vector<char> memory_for(const Operand& operand, DataType features) {
  size_t bytes = operand.is_feature() && features == DataType::kHALF ? 2 : 4;
  for (const int64_t size : operand.sizes) bytes *= static_cast<size_t>(size);
  return std::vector<char>(bytes, '\xff');  // NaN: what is never written is seen
}

int32_t run(const Case& one, Creator& creator, DataType features, std::ifstream& inputs, std::ofstream& outputs) {
  const auto built = create(creator, fields_of(one), TensorRTPhase::kBUILD);
  if (!built) return 3;
  const nvinfer1::PluginFieldCollection& written = *runtime_of(*built)->getFieldsToSerialize();
  const auto loaded = create(creator, {written.fields, written.fields + written.nbFields}, TensorRTPhase::kRUNTIME);
  if (!loaded) return 4;
  const std::unique_ptr<nvinfer1::IPluginV3> plugin(runtime_of(*loaded)->attachToContext(nullptr));
  std::vector<std::vector<char>> data;
  std::vector<const void*> in;
  std::vector<void*> out;
  for (const Operand& operand : one.inputs) {
    data.push_back(memory_for(operand, features));
    inputs.read(data.back().data(), static_cast<std::streamsize>(data.back().size()));
    in.push_back(data.back().data());
  }
  for (const Operand& operand : one.outputs) {
    data.push_back(memory_for(operand, features));
    out.push_back(data.back().data());
  }
  const auto of_inputs = descriptions_of(one.inputs, features), of_outputs = descriptions_of(one.outputs, features);
  nvinfer1::IPluginV3OneRuntime* const runtime = runtime_of(*plugin);
  if (runtime->onShapeChange(of_inputs.data(), static_cast<int32_t>(in.size()), of_outputs.data(),
                             static_cast<int32_t>(out.size()))) {
    return 5;
  }
  std::vector<nvinfer1::DynamicPluginTensorDesc> widest(in.size()), of_widest(out.size());
  for (size_t index = 0; index < in.size(); ++index) widest[index] = {of_inputs[index], {}, of_inputs[index].dims, {}};
  const size_t bytes = build_of(*plugin)->getWorkspaceSize(widest.data(), static_cast<int32_t>(in.size()),
                                                           of_widest.data(), static_cast<int32_t>(out.size()));
  const std::unique_ptr<char[]> scratch(new char[bytes]);
  if (runtime->enqueue(of_inputs.data(), of_outputs.data(), in.data(), out.data(), scratch.get(), nullptr)) return 6;
  for (size_t index = one.inputs.size(); index < data.size(); ++index) {
    outputs.write(data[index].data(), static_cast<std::streamsize>(data[index].size()));
  }
  return inputs.good() && outputs.good() ? 0 : 7;
}

}  // namespace
}  // namespace check

int main(int count, char** arguments) {
  using namespace check;
  if (count != 6) return 100;
  const Library library(arguments[1]);
  const nvinfer1::DataType features =
      arguments[3][0] == '1' ? nvinfer1::DataType::kHALF : nvinfer1::DataType::kFLOAT;
  std::ifstream inputs(arguments[4], std::ios::binary);
  std::ofstream outputs(arguments[5], std::ios::binary);
  for (const Case& one : read_cases(arguments[2])) {
    Creator* const creator = library.creator(one.op);
    const int status = creator ? run(one, *creator, features, inputs, outputs) : 2;
    if (status != 0) return status;
  }
  return 0;
}
