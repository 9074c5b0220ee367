// What the programs that check the TensorRT plugins share: cases in a text file, plugin fields, the library.
//
// A case is words:  case OP
//                   attribute NAME KIND HAS_DEFAULT CHOICE COUNT VALUE...   one a line; CHOICE: index of a string or -1
//                   input KIND RANK SIZE...                                 KIND: 0 number, 1 feature, 2 integer
//                   output KIND RANK SIZE...
//                   wrong INPUT RANK SIZE...                                a shape that does not fit in its place
//                   end
#pragma once

#include <NvInferRuntime.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace check {

struct Attribute {
  std::string name, kind, text;
  bool has_default = false;
  int32_t choice = -1;
  std::vector<int32_t> values;
  float number = 0;
};

struct Operand {
  int kind = 0;
  bool is_feature() const { return kind == 1; }
  bool is_integer() const { return kind == 2; }
  std::vector<int64_t> sizes;
};

struct WrongShape {
  size_t input = 0;
  std::vector<int64_t> sizes;
};

struct Case {
  std::string op;
  std::vector<Attribute> attributes;
  std::vector<Operand> inputs, outputs;
  std::vector<WrongShape> wrong;
};

template <class Number>
std::vector<Number> read_list(std::ifstream& file) {
  size_t count = 0;
  file >> count;
  std::vector<Number> values(count);
  for (Number& value : values) file >> value;
  return values;
}

inline Attribute read_attribute(std::ifstream& file) {
  Attribute attribute;
  file >> attribute.name >> attribute.kind >> attribute.has_default >> attribute.choice;
  if (attribute.kind == "string") {
    size_t count = 0;
    file >> count >> attribute.text;
  } else if (attribute.kind == "float") {
    attribute.number = read_list<float>(file).at(0);
  } else {
    attribute.values = read_list<int32_t>(file);
  }
  return attribute;
}

inline std::vector<Case> read_cases(const char* path) {
  std::ifstream file(path);
  std::vector<Case> cases;
  std::string word;
  while (file >> word) {
    if (word == "case") {
      cases.emplace_back();
      file >> cases.back().op;
    } else if (word == "attribute") {
      cases.back().attributes.push_back(read_attribute(file));
    } else if (word == "input" || word == "output") {
      Operand operand;
      file >> operand.kind;
      operand.sizes = read_list<int64_t>(file);
      (word == "input" ? cases.back().inputs : cases.back().outputs).push_back(operand);
    } else if (word == "wrong") {
      WrongShape wrong;
      file >> wrong.input;
      wrong.sizes = read_list<int64_t>(file);
      cases.back().wrong.push_back(wrong);
    }
  }
  return cases;
}

// As the parser of ONNX files hands attributes over: integers of 32 bits, text without its terminator.
inline nvinfer1::PluginField field_of(const Attribute& attribute) {
  using Type = nvinfer1::PluginFieldType;
  if (attribute.kind == "string") {
    return {attribute.name.c_str(), attribute.text.data(), Type::kCHAR, static_cast<int32_t>(attribute.text.size())};
  }
  if (attribute.kind == "float") return {attribute.name.c_str(), &attribute.number, Type::kFLOAT32, 1};
  return {attribute.name.c_str(), attribute.values.data(), Type::kINT32, static_cast<int32_t>(attribute.values.size())};
}

inline std::vector<nvinfer1::PluginField> fields_of(const Case& one) {
  std::vector<nvinfer1::PluginField> fields;
  for (const Attribute& attribute : one.attributes) fields.push_back(field_of(attribute));
  return fields;
}

inline nvinfer1::Dims dims_of(const std::vector<int64_t>& sizes) {
  nvinfer1::Dims dims{};
  dims.nbDims = static_cast<int32_t>(sizes.size());
  for (size_t axis = 0; axis < sizes.size(); ++axis) dims.d[axis] = sizes[axis];
  return dims;
}

inline nvinfer1::DataType type_of(const Operand& operand, nvinfer1::DataType features) {
  if (operand.is_integer()) return nvinfer1::DataType::kINT32;
  return operand.is_feature() ? features : nvinfer1::DataType::kFLOAT;
}

inline nvinfer1::PluginTensorDesc description_of(const Operand& operand, nvinfer1::DataType features) {
  nvinfer1::PluginTensorDesc description{};
  description.dims = dims_of(operand.sizes);
  description.type = type_of(operand, features);
  description.format = nvinfer1::TensorFormat::kLINEAR;
  return description;
}

inline std::vector<nvinfer1::PluginTensorDesc> descriptions_of(const std::vector<Operand>& operands,
                                                               nvinfer1::DataType features) {
  std::vector<nvinfer1::PluginTensorDesc> descriptions;
  for (const Operand& operand : operands) descriptions.push_back(description_of(operand, features));
  return descriptions;
}

using Creator = nvinfer1::IPluginCreatorV3One;

inline std::unique_ptr<nvinfer1::IPluginV3> create(Creator& creator, const std::vector<nvinfer1::PluginField>& fields,
                                                   nvinfer1::TensorRTPhase phase) {
  const nvinfer1::PluginFieldCollection collection{static_cast<int32_t>(fields.size()), fields.data()};
  return std::unique_ptr<nvinfer1::IPluginV3>(creator.createPlugin("node", &collection, phase));
}

template <class Capability>
Capability* capability(nvinfer1::IPluginV3& plugin, nvinfer1::PluginCapabilityType type) {
  return static_cast<Capability*>(plugin.getCapabilityInterface(type));
}

inline nvinfer1::IPluginV3OneBuild* build_of(nvinfer1::IPluginV3& plugin) {
  return capability<nvinfer1::IPluginV3OneBuild>(plugin, nvinfer1::PluginCapabilityType::kBUILD);
}

inline nvinfer1::IPluginV3OneRuntime* runtime_of(nvinfer1::IPluginV3& plugin) {
  return capability<nvinfer1::IPluginV3OneRuntime>(plugin, nvinfer1::PluginCapabilityType::kRUNTIME);
}

template <class Function>
Function symbol(void* library, const char* name) {
  const Function found = library ? reinterpret_cast<Function>(dlsym(library, name)) : nullptr;
  if (found) return found;
  fprintf(stderr, "%s: %s\n", name, dlerror());
  exit(2);
}

// The plugin library, opened without any library of TensorRT in the process.
class Library {
 public:
  explicit Library(const char* path) : handle_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    const auto creators =
        symbol<nvinfer1::IPluginCreatorInterface* const* (*)(int32_t&)>(handle_, "getCreators");
    int32_t count = 0;
    nvinfer1::IPluginCreatorInterface* const* const found = creators(count);
    for (int32_t index = 0; index < count; ++index) all.push_back(found[index]);
  }

  void set_logger_finder(nvinfer1::ILoggerFinder* finder) const {
    symbol<void (*)(nvinfer1::ILoggerFinder*)>(handle_, "setLoggerFinder")(finder);
  }

  Creator* creator(const std::string& op) const {
    for (nvinfer1::IPluginCreatorInterface* const one : all) {
      Creator* const creator = static_cast<Creator*>(one);
      if (op == creator->getPluginName()) return creator;
    }
    return nullptr;
  }

  std::vector<nvinfer1::IPluginCreatorInterface*> all;

 private:
  void* handle_;
};

}  // namespace check
