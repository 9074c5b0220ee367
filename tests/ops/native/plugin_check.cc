// Checks the plugins of a library against the cases of a file, with no GPU and no builder.
//
//   plugin_check LIBRARY CASES [LEAN]
//
// LEAN: a libnvinfer_lean.so of the same version as the headers, whose plugin registry then has to take the library.
// Prints what failed; 0 if nothing did.
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <stdexcept>

#include "fake_expressions.h"
#include "plugin_case.h"

namespace check {
namespace {

using nvinfer1::DataType;
using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;
using nvinfer1::TensorRTPhase;
using Fields = std::vector<PluginField>;
using Plugin = std::unique_ptr<nvinfer1::IPluginV3>;

int failures = 0;
std::string where;

void expect(bool is_so, const std::string& what) {
  if (is_so) return;
  ++failures;
  printf("%s: expected: %s\n", where.c_str(), what.c_str());
}

class Logger final : public nvinfer1::ILogger, public nvinfer1::ILoggerFinder {
 public:
  void log(Severity severity, const char* text) noexcept override {
    if (severity == Severity::kERROR) messages.emplace_back(text);
  }
  nvinfer1::ILogger* findLogger() override {
    if (is_lost) throw std::runtime_error("no logger here");
    return this;
  }

  // True once if something was said since the last time.
  bool has_said(const std::string& part) {
    const bool found = !messages.empty() && messages.back().find(part) != std::string::npos;
    messages.clear();
    return found;
  }

  bool is_lost = false;
  std::vector<std::string> messages;
};

Logger logger;

std::vector<DataType> types_of(const std::vector<Operand>& operands, DataType features) {
  std::vector<DataType> types;
  for (const Operand& operand : operands) types.push_back(type_of(operand, features));
  return types;
}

void check_types(const Case& one, nvinfer1::IPluginV3OneBuild& build) {
  const int32_t inputs = static_cast<int32_t>(one.inputs.size()), outputs = static_cast<int32_t>(one.outputs.size());
  std::vector<DataType> found(one.outputs.size());
  expect(build.getNbOutputs() == outputs, "the number of outputs");
  for (const DataType features : {DataType::kFLOAT, DataType::kHALF}) {
    const std::vector<DataType> given = types_of(one.inputs, features);
    expect(build.getOutputDataTypes(found.data(), outputs, given.data(), inputs) == 0, "types for float or half");
    expect(found == types_of(one.outputs, features), "output features of the type of the input features");
    expect(build.getOutputDataTypes(found.data(), outputs, given.data(), inputs - 1) != 0, "an input short refused");
  }
  const auto features = std::count_if(one.inputs.begin(), one.inputs.end(),
                                      [](const Operand& operand) { return operand.is_feature(); });
  for (size_t index = 0; index < one.inputs.size(); ++index) {
    std::vector<DataType> given = types_of(one.inputs, DataType::kFLOAT);
    given[index] = DataType::kHALF;
    const bool is_alone = one.inputs[index].is_feature() && features == 1;
    expect((build.getOutputDataTypes(found.data(), outputs, given.data(), inputs) == 0) == is_alone,
           "features of two types, or half for another input, refused");
    given[index] = one.inputs[index].is_feature() ? DataType::kINT8 : DataType::kHALF;
    logger.messages.clear();
    expect(build.getOutputDataTypes(found.data(), outputs, given.data(), inputs) != 0, "a wrong type refused");
    expect(logger.has_said(one.inputs[index].is_integer() ? "expected integers" : "expected float"),
           "words in the log about a wrong type");
  }
}

int32_t ask_shapes(const Case& one, nvinfer1::IPluginV3OneBuild& build, bool is_constant,
                   std::vector<nvinfer1::DimsExprs>* found, FakeBuilder& builder) {
  std::vector<nvinfer1::DimsExprs> given(one.inputs.size());
  for (size_t index = 0; index < one.inputs.size(); ++index) {
    const std::vector<int64_t>& sizes = one.inputs[index].sizes;
    given[index].nbDims = static_cast<int32_t>(sizes.size());
    for (size_t axis = 0; axis < sizes.size(); ++axis) given[index].d[axis] = builder.made(sizes[axis], is_constant);
  }
  found->resize(one.outputs.size());
  return build.getOutputShapes(given.data(), static_cast<int32_t>(given.size()), nullptr, 0, found->data(),
                               static_cast<int32_t>(found->size()), builder);
}

void check_shapes(const Case& one, nvinfer1::IPluginV3OneBuild& build) {
  for (const bool is_constant : {false, true}) {
    FakeBuilder builder;
    std::vector<nvinfer1::DimsExprs> found;
    expect(ask_shapes(one, build, is_constant, &found, builder) == 0, "shapes");
    for (size_t index = 0; index < found.size(); ++index) {
      std::vector<int64_t> sizes;
      for (int axis = 0; axis < found[index].nbDims; ++axis) {
        sizes.push_back(value_of(found[index].d[axis]));
        expect(!is_constant || found[index].d[axis]->isConstant(), "sizes known where those of the inputs are");
      }
      expect(sizes == one.outputs[index].sizes, "the output shape of the specification");
    }
  }
  for (const WrongShape& wrong : one.wrong) {
    FakeBuilder builder;
    std::vector<nvinfer1::DimsExprs> found;
    Case changed = one;
    changed.inputs[wrong.input].sizes = wrong.sizes;
    expect(ask_shapes(changed, build, true, &found, builder) != 0, "a wrong constant shape refused");
    const bool has_rank = wrong.sizes.size() == one.inputs[wrong.input].sizes.size();
    expect((ask_shapes(changed, build, false, &found, builder) != 0) != has_rank, "a wrong rank refused, sizes or not");
  }
}

bool accepts(const Case& one, nvinfer1::IPluginV3OneBuild& build, const std::vector<DataType>& types, int32_t place,
             nvinfer1::TensorFormat format = nvinfer1::TensorFormat::kLINEAR) {
  std::vector<nvinfer1::DynamicPluginTensorDesc> operands(types.size());
  for (size_t index = 0; index < types.size(); ++index) {
    const bool is_set = static_cast<int32_t>(index) <= place;  // later ones are not to be looked at
    operands[index].desc.type = is_set ? types[index] : DataType::kBOOL;
    operands[index].desc.format = is_set ? format : nvinfer1::TensorFormat::kHWC;
  }
  return build.supportsFormatCombination(place, operands.data(), static_cast<int32_t>(one.inputs.size()),
                                         static_cast<int32_t>(one.outputs.size()));
}

void check_formats(const Case& one, nvinfer1::IPluginV3OneBuild& build) {
  std::vector<Operand> operands = one.inputs;
  operands.insert(operands.end(), one.outputs.begin(), one.outputs.end());
  const int32_t count = static_cast<int32_t>(operands.size());
  for (const DataType features : {DataType::kFLOAT, DataType::kHALF}) {
    const std::vector<DataType> types = types_of(operands, features);
    bool is_first = true;
    for (int32_t place = 0; place < count; ++place) {
      const bool is_feature = operands[static_cast<size_t>(place)].is_feature();
      const bool is_integer = operands[static_cast<size_t>(place)].is_integer();
      expect(accepts(one, build, types, place), "linear float, or half for features, accepted");
      expect(!accepts(one, build, types, place, nvinfer1::TensorFormat::kCHW4), "another format refused");
      std::vector<DataType> changed = types;
      DataType& type = changed[static_cast<size_t>(place)];
      for (const DataType other : {DataType::kINT8, is_integer ? DataType::kFLOAT : DataType::kINT32, DataType::kBF16}) {
        type = other;
        expect(!accepts(one, build, changed, place), "another type refused");
      }
      type = is_feature && features == DataType::kHALF ? DataType::kFLOAT : DataType::kHALF;
      expect(accepts(one, build, changed, place) == (is_feature && is_first), "features of two types refused");
      is_first = is_first && !is_feature;
    }
    expect(!accepts(one, build, types, -1) && !accepts(one, build, types, count), "a place that is none refused");
  }
}

// Attributes as text, to be compared.
std::string text_of(const nvinfer1::PluginFieldCollection& fields) {
  std::string text;
  for (int32_t index = 0; index < fields.nbFields; ++index) {
    const PluginField& field = fields.fields[index];
    text += std::string(field.name) + "=";
    for (int32_t place = 0; place < field.length; ++place) {
      if (field.type == PluginFieldType::kCHAR) text += static_cast<const char*>(field.data)[place];
      if (field.type == PluginFieldType::kINT32) {
        text += std::to_string(static_cast<const int32_t*>(field.data)[place]) + ",";
      }
      if (field.type == PluginFieldType::kFLOAT32) {
        char number[32];
        snprintf(number, sizeof number, "%a,", static_cast<double>(static_cast<const float*>(field.data)[place]));
        text += number;
      }
    }
    text += ";";
  }
  return text;
}

std::string serialized(nvinfer1::IPluginV3& plugin) { return text_of(*runtime_of(plugin)->getFieldsToSerialize()); }

void check_copies(const Fields& fields, Creator& creator, Plugin plugin) {
  const std::string wanted = text_of({static_cast<int32_t>(fields.size()), fields.data()});
  expect(serialized(*plugin) == wanted, "the attributes serialized as given, got " + serialized(*plugin));
  const nvinfer1::PluginFieldCollection& written = *runtime_of(*plugin)->getFieldsToSerialize();
  const Plugin again =
      create(creator, {written.fields, written.fields + written.nbFields}, TensorRTPhase::kRUNTIME);
  expect(again != nullptr, "a plugin made of serialized fields");
  const Plugin clone(plugin->clone()), attached(runtime_of(*plugin)->attachToContext(nullptr));
  plugin.reset();
  for (const Plugin* copy : {&again, &clone, &attached}) {
    expect(*copy && serialized(**copy) == wanted, "the same attributes in every copy after the original is gone");
  }
}

void check_shape_change(const Case& one, nvinfer1::IPluginV3OneRuntime& runtime) {
  const auto change = [&](const Case& its, DataType features) {
    const auto in = descriptions_of(its.inputs, features), out = descriptions_of(its.outputs, features);
    return runtime.onShapeChange(in.data(), static_cast<int32_t>(in.size()), out.data(),
                                 static_cast<int32_t>(out.size()));
  };
  expect(change(one, DataType::kFLOAT) == 0 && change(one, DataType::kHALF) == 0, "its own shapes taken");
  const bool has_feature = std::any_of(one.inputs.begin(), one.inputs.end(),
                                       [](const Operand& operand) { return operand.is_feature(); });
  expect((change(one, DataType::kINT8) != 0) == has_feature, "features of another type refused");
  for (const WrongShape& wrong : one.wrong) {
    Case changed = one;
    changed.inputs[wrong.input].sizes = wrong.sizes;
    logger.messages.clear();
    expect(change(changed, DataType::kFLOAT) != 0, "a wrong shape refused");
    expect(logger.has_said(one.op), "words in the log about a wrong shape");
  }
  Case unknown = one;
  unknown.inputs[0].sizes[0] = -1;
  expect(change(unknown, DataType::kFLOAT) != 0, "an unknown size refused");
  expect(runtime.onShapeChange(nullptr, 0, nullptr, 0) != 0, "no inputs refused");
}

void expect_created(bool is_wanted, Creator& creator, const Fields& fields, const std::string& what) {
  logger.messages.clear();
  expect((create(creator, fields, TensorRTPhase::kBUILD) != nullptr) == is_wanted, what);
  expect(is_wanted || logger.has_said(creator.getPluginName()), "words in the log: " + what);
}

void check_integers(const Attribute& attribute, size_t place, const Fields& fields, Creator& creator) {
  const std::vector<int64_t> wide(attribute.values.begin(), attribute.values.end());
  std::vector<int64_t> too_wide = wide;
  if (!too_wide.empty()) too_wide[0] = int64_t{1} << 32;
  const std::vector<int32_t> long_list(129, 1);
  Fields changed = fields;
  PluginField& field = changed[place];
  field = {attribute.name.c_str(), wide.data(), PluginFieldType::kINT64, static_cast<int32_t>(wide.size())};
  expect_created(true, creator, changed, "integers of 64 bits taken");
  field.data = too_wide.data();
  expect_created(false, creator, changed, "an integer beyond 32 bits refused");
  field = {attribute.name.c_str(), long_list.data(), PluginFieldType::kINT32, 129};
  expect_created(false, creator, changed, "129 integers refused");
  field.length = -1;
  expect_created(false, creator, changed, "a negative count refused");
}

void check_real(const Attribute& attribute, size_t place, const Fields& fields, Creator& creator) {
  const float numbers[] = {1, 2};
  Fields changed = fields;
  changed[place] = {attribute.name.c_str(), numbers, PluginFieldType::kFLOAT32, 2};
  expect_created(false, creator, changed, "two numbers refused");
  changed[place].length = 0;
  expect_created(false, creator, changed, "no number refused");
}

void check_choice(const Attribute& attribute, size_t place, const Fields& fields, Creator& creator) {
  const int32_t none = 99;
  Fields changed = fields;
  PluginField& field = changed[place];
  field = {attribute.name.c_str(), attribute.text.c_str(), PluginFieldType::kCHAR,
           static_cast<int32_t>(attribute.text.size()) + 1};
  expect_created(true, creator, changed, "text with its terminator taken");
  field = {attribute.name.c_str(), &attribute.choice, PluginFieldType::kINT32, 1};
  expect_created(true, creator, changed, "the index of a choice taken");
  field.data = &none;
  expect_created(false, creator, changed, "the index of no choice refused");
  field = {attribute.name.c_str(), "no such choice", PluginFieldType::kCHAR, 14};
  expect_created(false, creator, changed, "text that is no choice refused");
  field.length = 0;
  expect_created(false, creator, changed, "empty text refused");
}

void check_attributes(const Case& one, const Fields& fields, Creator& creator) {
  expect(creator.createPlugin("node", nullptr, TensorRTPhase::kBUILD) == nullptr, "no attributes at all refused");
  const float number = 1;
  const nvinfer1::PluginFieldCollection& names = *creator.getFieldNames();
  expect(names.nbFields == static_cast<int32_t>(fields.size()), "all attributes listed");
  for (size_t place = 0; place < fields.size(); ++place) {
    const Attribute& attribute = one.attributes[place];
    expect(names.fields[place].name == attribute.name && names.fields[place].type == fields[place].type,
           attribute.name + " listed with its type");
    Fields changed = fields;
    changed.erase(changed.begin() + static_cast<std::ptrdiff_t>(place));
    expect_created(attribute.has_default, creator, changed, attribute.name + " may be missing if it has a default");
    changed = fields;
    const bool is_real = attribute.kind == "float";
    changed[place] = {attribute.name.c_str(), &number, is_real ? PluginFieldType::kINT32 : PluginFieldType::kFLOAT32, 1};
    expect_created(false, creator, changed, attribute.name + " of another type refused");
    changed[place] = {attribute.name.c_str(), nullptr, fields[place].type, 1};
    expect_created(false, creator, changed, attribute.name + " without data refused");
    (attribute.kind == "string" ? check_choice : is_real ? check_real : check_integers)(attribute, place, fields,
                                                                                         creator);
  }
  for (const char* name : {static_cast<const char*>("unheard_of"), static_cast<const char*>(nullptr)}) {
    Fields changed = fields;
    changed.push_back({name, &number, PluginFieldType::kFLOAT32, 1});
    expect_created(false, creator, changed, "an unknown attribute refused");
  }
}

void check_case(const Case& one, Creator& creator) {
  const Fields fields = fields_of(one);
  Plugin plugin = create(creator, fields, TensorRTPhase::kBUILD);
  expect(plugin != nullptr, "a plugin of the attributes of the case");
  if (!plugin) return;
  const auto* const core =
      capability<nvinfer1::IPluginV3OneCore>(*plugin, nvinfer1::PluginCapabilityType::kCORE);
  expect(core->getPluginName() == one.op && !strcmp(core->getPluginVersion(), "1") &&
             !strcmp(core->getPluginNamespace(), "tercelet"),
         "name, version 1 and namespace tercelet");
  check_types(one, *build_of(*plugin));
  check_shapes(one, *build_of(*plugin));
  check_formats(one, *build_of(*plugin));
  check_shape_change(one, *runtime_of(*plugin));
  check_copies(fields, creator, std::move(plugin));
  check_attributes(one, fields, creator);
}

// TensorRT's own registry takes the library, and gives it back.
void check_registry(const char* lean, const char* path, const Library& library, const std::vector<Case>& cases) {
  where = "registry";
  void* const handle = dlopen(lean, RTLD_NOW | RTLD_LOCAL);
  auto* const registry = symbol<nvinfer1::IPluginRegistry* (*)()>(handle, "getPluginRegistry")();
  const auto found = [&](const Case& one) {
    return static_cast<Creator*>(registry->getCreator(one.op.c_str(), "1", "tercelet"));
  };
  for (const Case& one : cases) expect(!found(one), "no creator before the library is there");
  void* const loaded = registry->loadLibrary(path);
  expect(loaded != nullptr, "the registry loads the library");
  for (const Case& one : cases) {
    expect(found(one) && create(*found(one), fields_of(one), TensorRTPhase::kBUILD), "a plugin by way of the registry");
  }
  if (loaded) registry->deregisterLibrary(loaded);
  for (const Case& one : cases) expect(!found(one), "no creator after the library is gone");
  for (nvinfer1::IPluginCreatorInterface* const creator : library.all) {
    expect(registry->registerCreator(*creator, "tercelet"), "a creator registered by hand");
  }
  for (const Case& one : cases) expect(found(one) == library.creator(one.op), "the creator registered by hand");
  for (nvinfer1::IPluginCreatorInterface* const creator : library.all) registry->deregisterCreator(*creator);
}

}  // namespace
}  // namespace check

int main(int count, char** arguments) {
  using namespace check;
  if (count < 3) return 100;
  const Library library(arguments[1]);
  const std::vector<Case> cases = read_cases(arguments[2]);
  library.set_logger_finder(&logger);
  for (const Case& one : cases) {
    where = one.op;
    Creator* const creator = library.creator(one.op);
    expect(creator != nullptr, "a creator");
    if (creator) check_case(one, *creator);
  }
  logger.is_lost = true;
  const PluginField unknown{"unheard_of", nullptr, PluginFieldType::kINT32, 1};
  for (nvinfer1::IPluginCreatorInterface* const creator : library.all) {
    expect(!create(*static_cast<Creator*>(creator), {unknown}, TensorRTPhase::kBUILD), "no crash without a logger");
  }
  library.set_logger_finder(nullptr);
  if (count > 3) check_registry(arguments[3], arguments[1], library, cases);
  printf("%zu cases, %d failures\n", cases.size(), failures);
  return failures == 0 && !cases.empty() ? 0 : 1;
}
