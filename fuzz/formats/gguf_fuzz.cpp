// SPDX-License-Identifier: Apache-2.0
// Any bytes as a GGUF file: refused with a message, or every value and tensor in it is readable and
// a config made from it holds to its own limits.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "formats/config_gguf.hpp"
#include "formats/gguf.hpp"

namespace {

using namespace skvis;

void read_everything(const GgufFile& file) {
  for (const auto& [key, value] : file.metadata()) {
    (void)file.string(key).ok();
    (void)file.integer(key, INT64_MIN, INT64_MAX).ok();
    (void)file.number(key).ok();
    (void)file.boolean(key).ok();
    (void)file.strings(key).ok();
    (void)file.integers(key).ok();
    (void)file.numbers(key).ok();
    (void)file.booleans(key).ok();
  }
  for (const GgufTensor& tensor : file.tensors()) {
    (void)hugging_face_name(tensor.name);
    if (const auto view = file.tensor(tensor)) (void)check_finite(*view).ok();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = GgufFile::parse(std::as_bytes(std::span(data, size)), "fuzz");
  if (!file) {
    if (file.error().message.empty()) std::abort();
    return 0;
  }
  read_everything(*file);
  (void)templates_from_gguf(*file);
  (void)generation_from_gguf(*file);
  const auto find = [&](std::string_view name) -> Result<std::optional<TensorView>> {
    const GgufTensor* tensor = file->find_tensor(name);
    if (tensor == nullptr) return std::optional<TensorView>();
    SKVIS_TRY(TensorView view, file->tensor(*tensor));
    return std::optional<TensorView>(std::move(view));
  };
  const auto config = config_from_gguf(*file, find);
  if (config && !check_config(*config, "fuzz")) std::abort();
  return 0;
}
