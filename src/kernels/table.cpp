// SPDX-License-Identifier: Apache-2.0
#include "kernels/table.hpp"

#include <array>
#include <atomic>
#include <cstdlib>
#include <vector>

#include "base/log.hpp"
#include "kernels/portable/portable.hpp"
#include "kernels/reference/reference.hpp"
#include "kernels/x86/vnni.hpp"

namespace skvis::kernels {
namespace {

constexpr std::array<std::string_view, kLevels> kNames = {"scalar", "sse4",   "neon",
                                                          "avx2",   "avx512", "avx512_vnni"};

struct Tables {
  std::array<Kernels, kLevels> kernels;
  std::vector<Level> available;
};

Tables build_tables() {
  Tables tables;
  for (size_t i = 0; i < kLevels; ++i) {
    const auto level = static_cast<Level>(i);
    Kernels& table = tables.kernels[i];
    table = reference::scalar_kernels();
    table.level = level;
    const bool vnni = level == Level::avx512_vnni;
    const bool found =
        level == Level::scalar || portable::fill(vnni ? Level::avx512 : level, table);
    if (found && (!vnni || x86::fill_vnni(table))) tables.available.push_back(level);
  }
  return tables;
}

const Tables& tables() {
  static const Tables instance = build_tables();
  return instance;
}

Result<const Kernels*> find(std::string_view name) {
  std::string known;
  for (const Level level : tables().available) {
    if (level_name(level) == name) return &kernels_at(level);
    known += known.empty() ? "" : ", ";
    known += level_name(level);
  }
  return fail("kernel level \"{}\" is not available on this machine; available: {}", name, known);
}

const Kernels* first_choice() {
  const Kernels* best = &kernels_at(tables().available.back());
  const char* wanted = std::getenv("SKVIS_KERNELS");
  if (wanted == nullptr || *wanted == '\0') return best;
  auto found = find(wanted);
  if (found) return *found;
  spdlog::warn("SKVIS_KERNELS: {}; using {}", found.error().message, level_name(best->level));
  return best;
}

std::atomic<const Kernels*>& active() {
  static std::atomic<const Kernels*> instance = first_choice();
  return instance;
}

}  // namespace

std::string_view level_name(Level level) {
  return kNames[static_cast<size_t>(level)];
}

std::span<const Level> available_levels() {
  return tables().available;
}

const Kernels& kernels_at(Level level) {
  return tables().kernels[static_cast<size_t>(level)];
}

const Kernels& active_kernels() {
  return *active().load(std::memory_order_relaxed);
}

Result<void> force_level(std::string_view name) {
  SKVIS_TRY(const Kernels* found, find(name));
  active().store(found, std::memory_order_relaxed);
  return {};
}

}  // namespace skvis::kernels
