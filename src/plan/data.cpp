// SPDX-License-Identifier: Apache-2.0
#include "plan/data.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/file.hpp"
#include "formats/safetensors.hpp"

namespace skvis {
namespace {

constexpr size_t kMostFloats = size_t{1} << 28;

}  // namespace

Result<SelectorData> read_selector_data(const std::filesystem::path& path) {
  SKVIS_TRY(const MappedFile file, MappedFile::open(path));
  SKVIS_TRY(const SafetensorsHeader header, parse_safetensors(file.bytes(), path.string()));
  auto tensors = std::make_shared<NamedTensors>();
  size_t floats = 0;
  for (const SafetensorsEntry& entry : header.tensors) {
    SKVIS_TRY(const TensorView view, to_tensor(entry, path.string()));
    floats += view.rows() * view.columns();
    if (floats > kMostFloats) {
      return fail("{}: more than {} numbers, which is no data of a selector", path.string(),
                  kMostFloats);
    }
    if (auto finite = check_finite(view); !finite) {
      return fail("{}: {}", path.string(), finite.error().message);
    }
    NamedTensor& tensor = (*tensors)[view.name];
    tensor.shape = view.shape;
    tensor.values.resize(view.rows() * view.columns());
    dequantize_rows(view, 0, view.rows(), tensor.values.data());
  }
  return SelectorData{std::move(tensors), XXH64(file.bytes().data(), file.bytes().size(), 0)};
}

Result<void> write_selector_data(const std::filesystem::path& path, const NamedTensors& tensors) {
  std::vector<TensorView> views;
  for (const auto& [name, tensor] : tensors) {
    views.push_back({.name = name,
                     .dtype = DType::kF32,
                     .shape = tensor.shape,
                     .data = std::as_bytes(std::span(tensor.values))});
  }
  return write_safetensors(path, views);
}

}  // namespace skvis
