// The ops as TensorRT plugins (IPluginV3), for every op of the specifications. TensorRT 10.3 and newer.
//
// IPluginRegistry::loadLibrary finds getCreators and setLoggerFinder below; a caller of dlopen hands what getCreators
// returns to registerCreator. TensorRT's headers are enough: no symbol of its libraries is used.
#include <NvInferRuntime.h>
#include <stdio.h>
#include <string.h>

#include <atomic>
#include <stdexcept>
#include <string>

#include "cuda.h"
#include "tensorrt_fields.h"

namespace tercelet {
namespace {

using namespace nvinfer1;

constexpr const char* kNamespace = "tercelet";
constexpr const char* kVersion = "1";
constexpr int32_t kSuccess = 0, kFailure = 1;

std::atomic<ILoggerFinder*> logger_finder{nullptr};

void log_error(const char* message) noexcept {
  try {
    ILoggerFinder* const finder = logger_finder;
    ILogger* const logger = finder ? finder->findLogger() : nullptr;
    if (logger) return logger->log(ILogger::Severity::kERROR, message);
  } catch (...) {  // the finder's; the message still has to come out
  }
  fprintf(stderr, "%s\n", message);
}

// What `work` returns. What it throws is logged and becomes `otherwise`: nothing may be thrown into the engine.
template <class Result, class Work>
Result guarded(Result otherwise, const Work& work) noexcept {
  try {
    return work();
  } catch (const std::exception& error) {
    log_error(error.what());
  } catch (...) {
    log_error("tercelet: unknown exception");
  }
  return otherwise;
}

[[noreturn]] void refuse(const char* op, const std::string& problem) {
  throw std::invalid_argument(std::string("tercelet::") + op + ": " + problem);
}

// Where the size of a symbol is seen: in a dimension of an input that is `factor` times as large.
struct SymbolSource {
  const IDimensionExpr* size = nullptr;
  int64_t factor = 0;
};

void collect_sources(const OperandRule& rule, const DimsExprs& sizes, SymbolSource* sources) {
  for (int axis = 0; axis < rule.rank; ++axis) {
    const DimensionRule& dimension = rule.dimension[axis];
    if (dimension.symbol < 0) continue;
    SymbolSource& source = sources[dimension.symbol];
    if (!source.size || dimension.factor < source.factor) source = {sizes.d[axis], dimension.factor};
  }
}

const IDimensionExpr* expression_of(const DimensionRule& rule, const SymbolSource* sources, IExprBuilder& builder) {
  if (rule.symbol < 0) return builder.constant(rule.factor);
  const SymbolSource& source = sources[rule.symbol];
  if (rule.factor == source.factor) return source.size;
  const IDimensionExpr* size = source.size;
  if (source.factor != 1) {
    size = builder.operation(DimensionOperation::kFLOOR_DIV, *size, *builder.constant(source.factor));
  }
  if (rule.factor == 1) return size;
  return builder.operation(DimensionOperation::kPROD, *size, *builder.constant(rule.factor));
}

// The shape if every size is known while the network is built, false if one is not.
bool constant_shape(const DimsExprs& sizes, Shape* shape) {
  shape->rank = sizes.nbDims;
  for (int32_t axis = 0; axis < sizes.nbDims; ++axis) {
    if (!sizes.d[axis]->isConstant()) return false;
    shape->size[axis] = sizes.d[axis]->getConstantValue();
  }
  return true;
}

// What an operand is, its features of the type `features`.
DataType type_of(const OperandRule& rule, DataType features) {
  return rule.kind == kFeature ? features : rule.kind == kInteger ? DataType::kINT32 : DataType::kFLOAT;
}

template <class Op>
class Plugin final : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime {
 public:
  explicit Plugin(const typename Op::Attributes& attributes) : attributes_(attributes), fields_(Op::kAttributes) {
    Op::read(fields_, &attributes_);
  }

  IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override {
    if (type == PluginCapabilityType::kCORE) return static_cast<IPluginV3OneCore*>(this);
    if (type == PluginCapabilityType::kBUILD) return static_cast<IPluginV3OneBuild*>(this);
    return type == PluginCapabilityType::kRUNTIME ? static_cast<IPluginV3OneRuntime*>(this) : nullptr;
  }

  IPluginV3* clone() noexcept override {
    return guarded<IPluginV3*>(nullptr, [&] { return new Plugin(attributes_); });
  }

  const char* getPluginName() const noexcept override { return Op::kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }
  int32_t getNbOutputs() const noexcept override { return Op::kOutputs; }

  int32_t getOutputDataTypes(DataType* outputs, int32_t output_count, const DataType* inputs,
                             int32_t input_count) const noexcept override {
    return guarded(kFailure, [&] {
      check_counts(input_count, output_count);
      const DataType features = type_of_features([&](int index) { return inputs[index]; });
      for (int index = 0; index < Op::kOutputs; ++index) {
        outputs[index] = type_of(Op::kOperands[Op::kInputs + index], features);
      }
      return kSuccess;
    });
  }

  int32_t getOutputShapes(const DimsExprs* inputs, int32_t input_count, const DimsExprs*, int32_t, DimsExprs* outputs,
                          int32_t output_count, IExprBuilder& builder) noexcept override {
    return guarded(kFailure, [&] {
      check_counts(input_count, output_count);
      SymbolSource sources[Op::kSymbols + Op::kSizes];
      for (int symbol = Op::kSymbols; symbol < Op::kSymbols + Op::kSizes; ++symbol) {
        const int64_t size = Op::attribute_size(symbol, attributes_);
        if (size < 0) refuse(Op::kName, "expected attributes that are sizes not to be negative");
        sources[symbol] = {builder.constant(size), 1};
      }
      Shape shapes[Op::kInputs];
      bool is_known = true;
      for (int index = 0; index < Op::kInputs; ++index) {
        const OperandRule& rule = Op::kOperands[index];
        if (inputs[index].nbDims != rule.rank) refuse_shape(rule.name);
        collect_sources(rule, inputs[index], sources);
        is_known = constant_shape(inputs[index], &shapes[index]) && is_known;
      }
      if (is_known) dims_of(shapes);  // a wrong network is refused here rather than in an engine
      for (int index = 0; index < Op::kOutputs; ++index) {
        const OperandRule& rule = Op::kOperands[Op::kInputs + index];
        outputs[index].nbDims = rule.rank;
        for (int axis = 0; axis < rule.rank; ++axis) {
          outputs[index].d[axis] = expression_of(rule.dimension[axis], sources, builder);
        }
      }
      return kSuccess;
    });
  }

  bool supportsFormatCombination(int32_t place, const DynamicPluginTensorDesc* operands, int32_t input_count,
                                 int32_t output_count) noexcept override {
    if (input_count != Op::kInputs || output_count != Op::kOutputs) return false;
    if (place < 0 || place >= Op::kInputs + Op::kOutputs) return false;
    const PluginTensorDesc& operand = operands[place].desc;
    if (operand.format != TensorFormat::kLINEAR) return false;
    if (Op::kOperands[place].kind != kFeature) return operand.type == type_of(Op::kOperands[place], DataType::kFLOAT);
    // Only what comes before `place` is set; the first feature decides for all.
    for (int before = 0; before < place; ++before) {
      if (Op::kOperands[before].kind == kFeature) return operand.type == operands[before].desc.type;
    }
    return operand.type == DataType::kFLOAT || operand.type == DataType::kHALF;
  }

  int32_t configurePlugin(const DynamicPluginTensorDesc*, int32_t input_count, const DynamicPluginTensorDesc*,
                          int32_t output_count) noexcept override {
    return guarded(kFailure, [&] {
      check_counts(input_count, output_count);
      return kSuccess;
    });
  }

  int32_t onShapeChange(const PluginTensorDesc* inputs, int32_t input_count, const PluginTensorDesc*,
                        int32_t output_count) noexcept override {
    return guarded(kFailure, [&] {
      check_counts(input_count, output_count);
      type_of_features([&](int index) { return inputs[index].type; });
      dims_of(inputs);
      return kSuccess;
    });
  }

  int32_t enqueue(const PluginTensorDesc* input_descriptions, const PluginTensorDesc*, const void* const* inputs,
                  void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
    return guarded(kFailure, [&] {
      const DataType type = type_of_features([&](int index) { return input_descriptions[index].type; });
      const FeatureType features = type == DataType::kHALF ? kHalfFeatures : kFloatFeatures;
      const typename Op::Dims dims = dims_of(input_descriptions);
      float* const scratch = static_cast<float*>(workspace);
      const char* const wrong = launch<Op>(features, dims, attributes_, inputs, outputs, scratch, stream);
      if (wrong) refuse(Op::kName, wrong);
      return kSuccess;
    });
  }

  // The largest that the profiles of the network need.
  size_t getWorkspaceSize(const DynamicPluginTensorDesc* inputs, int32_t input_count, const DynamicPluginTensorDesc*,
                          int32_t output_count) const noexcept override {
    return guarded(size_t{0}, [&] {
      check_counts(input_count, output_count);
      Shape shapes[Op::kInputs];
      for (int index = 0; index < Op::kInputs; ++index) shapes[index] = shape_of(index, inputs[index].max);
      return static_cast<size_t>(Op::scratch_floats(dims_of(shapes), attributes_)) * sizeof(float);
    });
  }

  IPluginV3* attachToContext(IPluginResourceContext*) noexcept override { return clone(); }
  const PluginFieldCollection* getFieldsToSerialize() noexcept override { return fields_.collection(); }

 private:
  static void check_counts(int32_t inputs, int32_t outputs) {
    if (inputs == Op::kInputs && outputs == Op::kOutputs) return;
    refuse(Op::kName, "expected " + std::to_string(Op::kInputs) + " inputs and " + std::to_string(Op::kOutputs) +
                          " outputs, got " + std::to_string(inputs) + " and " + std::to_string(outputs));
  }

  [[noreturn]] static void refuse_shape(const char* operand) {
    refuse(Op::kName, std::string(operand) + ": its shape does not fit the specification or the other inputs");
  }

  // Float or half, for all features alike.
  template <class TypeOfInput>
  static DataType type_of_features(const TypeOfInput& type_of_input) {
    DataType features = DataType::kFLOAT;
    bool is_first = true;
    for (int index = 0; index < Op::kInputs; ++index) {
      const OperandRule& rule = Op::kOperands[index];
      const DataType type = type_of_input(index);
      const bool is_feature = rule.kind == kFeature;
      if (type == DataType::kHALF && is_feature && is_first) features = DataType::kHALF;
      if (type != type_of(rule, features)) {
        const char* const wanted = is_feature               ? ": expected float or half, as the other features"
                                   : rule.kind == kInteger ? ": expected integers of 32 bits"
                                                            : ": expected float, in every precision";
        refuse(Op::kName, std::string(rule.name) + wanted);
      }
      is_first = is_first && !is_feature;
    }
    return features;
  }

  typename Op::Dims dims_of(const Shape* shapes) const {
    typename Op::Dims dims{};
    if (const char* const operand = Op::bind(shapes, &dims)) refuse_shape(operand);
    if (const char* const wrong = Op::check(dims, attributes_)) refuse(Op::kName, wrong);
    return dims;
  }

  typename Op::Dims dims_of(const PluginTensorDesc* inputs) const {
    Shape shapes[Op::kInputs];
    for (int index = 0; index < Op::kInputs; ++index) shapes[index] = shape_of(index, inputs[index].dims);
    return dims_of(shapes);
  }

  static Shape shape_of(int index, const Dims& sizes) {
    if (sizes.nbDims != Op::kOperands[index].rank) refuse_shape(Op::kOperands[index].name);
    Shape shape;
    shape.rank = sizes.nbDims;
    for (int32_t axis = 0; axis < sizes.nbDims; ++axis) shape.size[axis] = sizes.d[axis];
    return shape;
  }

  typename Op::Attributes attributes_;
  FieldWriter fields_;
};

template <class Op>
class Creator final : public IPluginCreatorV3One {
 public:
  Creator() {
    typename Op::Attributes attributes{};
    Op::read(lister_, &attributes);
    names_.nbFields = static_cast<int32_t>(lister_.fields.size());
    names_.fields = lister_.fields.data();
  }

  IPluginV3* createPlugin(const char*, const PluginFieldCollection* fields, TensorRTPhase) noexcept override {
    return guarded<IPluginV3*>(nullptr, [&] {
      if (!fields || (fields->nbFields > 0 && !fields->fields)) refuse(Op::kName, "expected attributes, got none");
      for (int32_t index = 0; index < fields->nbFields; ++index) check_name(fields->fields[index].name);
      FieldReader reader(*fields);
      typename Op::Attributes attributes{};
      if (!Op::read(reader, &attributes)) refuse(Op::kName, reader.problem);
      return new Plugin<Op>(attributes);
    });
  }

  const PluginFieldCollection* getFieldNames() noexcept override { return &names_; }
  const char* getPluginName() const noexcept override { return Op::kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }

 private:
  static void check_name(const char* name) {
    for (const char* const known : Op::kAttributeNames) {
      if (name && strcmp(name, known) == 0) return;
    }
    refuse(Op::kName, std::string("expected attributes of the specification, got ") + (name ? name : "no name"));
  }

  FieldLister lister_;
  PluginFieldCollection names_{};
};

template <class Op>
IPluginCreatorInterface* creator() {
  static Creator<Op> made;
  return &made;
}

}  // namespace
}  // namespace tercelet

TERCELET_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { tercelet::logger_finder = finder; }

TERCELET_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  using namespace tercelet;
#define TERCELET_CREATOR(Op) creator<Op>(),
  static nvinfer1::IPluginCreatorInterface* const creators[] = {TERCELET_FOR_EACH_OP(TERCELET_CREATOR)};
#undef TERCELET_CREATOR
  count = static_cast<int32_t>(sizeof(creators) / sizeof(creators[0]));
  return creators;
}
