// Stand-ins for the expressions of sizes with which TensorRT asks a plugin for its shapes.
#pragma once

#include <NvInferRuntime.h>

#include <memory>
#include <vector>

namespace check {

// A size with a value that a plugin must not see unless the size is constant.
class FakeExpression final : public nvinfer1::IDimensionExpr {
 public:
  FakeExpression(int64_t value, bool is_constant) : meaning_(value, is_constant) { mImpl = &meaning_; }
  int64_t value() const { return meaning_.value; }

 private:
  struct Meaning final : nvinfer1::apiv::VDimensionExpr {
    Meaning(int64_t its_value, bool is_known) : value(its_value), is_constant(is_known) {}
    bool isConstant() const override { return is_constant; }
    int64_t getConstantValue() const override { return is_constant ? value : unknown; }
    bool isSizeTensor() const override { return false; }

    static constexpr int64_t unknown = -(int64_t{1} << 40);  // what TensorRT gives is not said to be of any use
    int64_t value;
    bool is_constant;
  };

  Meaning meaning_;
};

inline int64_t value_of(const nvinfer1::IDimensionExpr* size) {
  return size ? static_cast<const FakeExpression*>(size)->value() : -1;
}

class FakeBuilder final : public nvinfer1::IExprBuilder {
 public:
  FakeBuilder() { mImpl = &maker_; }

  const nvinfer1::IDimensionExpr* made(int64_t value, bool is_constant) { return maker_.keep(value, is_constant); }

 private:
  struct Maker final : nvinfer1::apiv::VExprBuilder {
    const nvinfer1::IDimensionExpr* keep(int64_t value, bool is_constant) {
      kept.push_back(std::make_unique<FakeExpression>(value, is_constant));
      return kept.back().get();
    }

    const nvinfer1::IDimensionExpr* constant(int64_t value) override { return keep(value, true); }

    const nvinfer1::IDimensionExpr* operation(nvinfer1::DimensionOperation operation,
                                              const nvinfer1::IDimensionExpr& first,
                                              const nvinfer1::IDimensionExpr& second) override {
      const int64_t a = value_of(&first), b = value_of(&second);
      const bool is_constant = first.isConstant() && second.isConstant();
      if (operation == nvinfer1::DimensionOperation::kPROD) return keep(a * b, is_constant);
      if (operation == nvinfer1::DimensionOperation::kFLOOR_DIV && b > 0) return keep(a / b, is_constant);
      return nullptr;  // the rules of the shapes need no other
    }

    const nvinfer1::IDimensionExpr* declareSizeTensor(int32_t, const nvinfer1::IDimensionExpr&,
                                                      const nvinfer1::IDimensionExpr&) override {
      return nullptr;
    }

    std::vector<std::unique_ptr<FakeExpression>> kept;
  };

  Maker maker_;
};

}  // namespace check
