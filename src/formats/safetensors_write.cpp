// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "base/json.hpp"
#include "formats/safetensors.hpp"

namespace skvis {
namespace {

struct Closer {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

Result<std::string> make_header(std::span<const TensorView> tensors,
                                const std::map<std::string, std::string>& metadata,
                                const std::string& path) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t offset = 0;
  for (const TensorView& tensor : tensors) {
    const std::optional<size_t> elements = shape_elements(tensor.shape);
    if (block_elements(tensor.dtype) != 1 || !elements ||
        bytes_for(tensor.dtype, *elements) != tensor.data.size()) {
      return fail("{}: tensor {}: {} bytes of {} cannot be written with shape {}", path,
                  tensor.name, tensor.data.size(), dtype_name(tensor.dtype),
                  shape_text(tensor.shape));
    }
    header[tensor.name] = {{"dtype", dtype_name(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.data.size()}}};
    offset += tensor.data.size();
  }
  std::string text = dump_json(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begin aligned
  return text;
}

}  // namespace

Result<void> write_safetensors(const std::filesystem::path& path,
                               std::span<const TensorView> tensors,
                               const std::map<std::string, std::string>& metadata) {
  SKVIS_TRY(const std::string header, make_header(tensors, metadata, path.string()));
  // Weights may be larger than memory should hold twice: written piece by piece, then renamed.
  const std::string temporary = path.string() + ".part";
  std::unique_ptr<std::FILE, Closer> file(std::fopen(temporary.c_str(), "wb"));
  const auto give_up = [&](std::string_view step) {
    const int reason = errno;
    std::remove(temporary.c_str());
    return fail("{}: {} failed: {}", path.string(), step, std::strerror(reason));
  };
  if (!file) return give_up("create");
  const uint64_t length = header.size();
  bool written = std::fwrite(&length, sizeof(length), 1, file.get()) == 1 &&
                 std::fwrite(header.data(), 1, header.size(), file.get()) == header.size();
  for (const TensorView& tensor : tensors) {
    written = written && std::fwrite(tensor.data.data(), 1, tensor.data.size(), file.get()) ==
                             tensor.data.size();
  }
  if (!written || std::fflush(file.get()) != 0) return give_up("write");
  file.reset();
  if (std::rename(temporary.c_str(), path.c_str()) != 0) return give_up("rename");
  return {};
}

}  // namespace skvis
