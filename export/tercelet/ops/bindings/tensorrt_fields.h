// Attributes as TensorRT's plugin fields: the readers that Op::read asks, for either direction.
#pragma once

#include <NvInferRuntime.h>
#include <string.h>

#include <limits>
#include <string>
#include <vector>

#include "tercelet_op.h"

namespace tercelet {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;

// Reads attributes from the fields that a parser, a user or a serialized engine hands over.
class FieldReader {
 public:
  explicit FieldReader(const PluginFieldCollection& fields) : fields_(fields) {}

  bool integer(const char* name, bool has_default, int64_t standard, int64_t* value) {
    *value = standard;
    const PluginField* const field = find(name);
    if (!field) return has_default || fail(name, "expected an integer, it is missing");
    // 32 bits, as the fields are written back in that type.
    return (field->length == 1 && number(*field, 0, value)) || fail(name, "expected one integer of 32 bits");
  }

  bool real(const char* name, bool has_default, float standard, float* value) {
    *value = standard;
    const PluginField* const field = find(name);
    if (!field) return has_default || fail(name, "expected a number, it is missing");
    if (field->length != 1 || !field->data || field->type != PluginFieldType::kFLOAT32) {
      return fail(name, "expected one number of 32 bits");
    }
    *value = *static_cast<const float*>(field->data);
    return true;
  }

  bool choice(const char* name, const Choices& choices, int64_t standard, int64_t* value) {
    *value = standard;
    const PluginField* const field = find(name);
    if (!field) return standard >= 0 || fail(name, "expected a string, it is missing");
    if (field->type == PluginFieldType::kCHAR && field->data && field->length >= 0) {
      const char* const text = static_cast<const char*>(field->data);
      // With or without the terminator, both occur.
      *value = choice_of(text, static_cast<int64_t>(strnlen(text, static_cast<size_t>(field->length))), choices);
    } else if (field->length != 1 || !number(*field, 0, value)) {
      *value = -1;
    }
    return (*value >= 0 && *value < choices.count) || fail(name, "expected one of " + listed(choices));
  }

  bool integers(const char* name, Ints* list) {
    const PluginField* const field = find(name);
    if (!field) return fail(name, "expected integers, they are missing");
    if (field->length < 0 || field->length > kMaximumInts) return fail(name, "expected at most 128 integers");
    list->size = field->length;
    for (int32_t index = 0; index < field->length; ++index) {
      int64_t value = 0;
      if (!number(*field, index, &value)) return fail(name, "expected integers of 32 bits");
      list->value[index] = static_cast<int32_t>(value);
    }
    return true;
  }

  std::string problem;

 private:
  const PluginField* find(const char* name) const {
    for (int32_t index = 0; index < fields_.nbFields; ++index) {
      if (strcmp(fields_.fields[index].name, name) == 0) return &fields_.fields[index];
    }
    return nullptr;
  }

  static bool number(const PluginField& field, int32_t index, int64_t* value) {
    if (!field.data) return false;
    if (field.type == PluginFieldType::kINT32) {
      *value = static_cast<const int32_t*>(field.data)[index];
      return true;
    }
    if (field.type != PluginFieldType::kINT64) return false;
    *value = static_cast<const int64_t*>(field.data)[index];
    return *value >= std::numeric_limits<int32_t>::min() && *value <= std::numeric_limits<int32_t>::max();
  }

  static std::string listed(const Choices& choices) {
    std::string text;
    for (int index = 0; index < choices.count; ++index) text += (index ? ", " : "") + std::string(choices.text[index]);
    return text;
  }

  bool fail(const char* name, const std::string& message) {
    problem = std::string(name) + ": " + message;
    return false;
  }

  const PluginFieldCollection& fields_;
};

// Lists attributes as fields: a reader that changes nothing. The fields point into what it has read.
class FieldWriter {
 public:
  explicit FieldWriter(int attributes) { numbers_.reserve(static_cast<size_t>(attributes)); }  // they stay in place

  bool integer(const char* name, bool, int64_t, int64_t* value) {
    numbers_.push_back(static_cast<int32_t>(*value));
    fields_.emplace_back(name, &numbers_.back(), PluginFieldType::kINT32, 1);
    return true;
  }

  bool real(const char* name, bool, float, float* value) {
    fields_.emplace_back(name, value, PluginFieldType::kFLOAT32, 1);
    return true;
  }

  bool choice(const char* name, const Choices& choices, int64_t, int64_t* value) {
    const char* const text = choices.text[*value];
    fields_.emplace_back(name, text, PluginFieldType::kCHAR, static_cast<int32_t>(strlen(text)));
    return true;
  }

  bool integers(const char* name, Ints* list) {
    fields_.emplace_back(name, list->value, PluginFieldType::kINT32, list->size);
    return true;
  }

  const PluginFieldCollection* collection() {
    collection_.nbFields = static_cast<int32_t>(fields_.size());
    collection_.fields = fields_.data();
    return &collection_;
  }

 private:
  std::vector<int32_t> numbers_;
  std::vector<PluginField> fields_;
  PluginFieldCollection collection_{};
};

// Names and types of attributes, without values; the parser of ONNX files converts to these types.
class FieldLister {
 public:
  bool integer(const char* name, bool, int64_t, int64_t*) { return add(name, PluginFieldType::kINT32); }
  bool real(const char* name, bool, float, float*) { return add(name, PluginFieldType::kFLOAT32); }
  bool choice(const char* name, const Choices&, int64_t, int64_t*) { return add(name, PluginFieldType::kCHAR); }
  bool integers(const char* name, Ints*) { return add(name, PluginFieldType::kINT32); }

  std::vector<PluginField> fields;

 private:
  bool add(const char* name, PluginFieldType type) {
    fields.emplace_back(name, nullptr, type, 1);
    return true;
  }
};

}  // namespace tercelet
