// SPDX-License-Identifier: Apache-2.0
// What this process may use, as the kernel will enforce it: affinity and cgroups, v2 then v1.
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include "base/thread_pool.hpp"

namespace skvis {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

// Our own cgroup's folders, most specific first: limits of every ancestor apply too.
std::vector<std::string> cgroup_folders(const std::string& controller) {
  std::vector<std::string> folders;
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {  // "0::/a/b" or "4:memory:/a/b"
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string names = line.substr(first + 1, second - first - 1);
    const bool unified = names.empty();
    if (!unified && ("," + names + ",").find("," + controller + ",") == std::string::npos) continue;
    const std::string root = unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/" + controller;
    for (std::string path = line.substr(second + 1);; path.resize(path.rfind('/'))) {
      folders.push_back(root + (path == "/" ? "" : path));
      if (path.empty() || path == "/" || path.find('/') == std::string::npos) break;
    }
  }
  return folders;
}

double read_number(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  if (!(file >> word) || word == "max" || word == "-1") return kNoLimit;
  return std::strtod(word.c_str(), nullptr);
}

double cpu_quota(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  std::string quota;
  double period = 0;
  if (file >> quota >> period) return quota == "max" ? kNoLimit : std::stod(quota) / period;
  const double v1_quota = read_number(folder + "/cpu.cfs_quota_us");
  return v1_quota / read_number(folder + "/cpu.cfs_period_us");
}

double host_memory(const char* field) {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(field, 0) == 0) {
      return std::strtod(line.c_str() + line.find(':') + 1, nullptr) * 1024.0;
    }
  }
  return kNoLimit;
}

// Memory a group may still take: its limit less what it holds, file cache not counted as held.
double cgroup_memory_left(const std::string& folder) {
  double limit = read_number(folder + "/memory.max");
  double used = read_number(folder + "/memory.current");
  if (limit == kNoLimit) {
    limit = read_number(folder + "/memory.limit_in_bytes");
    used = read_number(folder + "/memory.usage_in_bytes");
  }
  if (limit == kNoLimit || used == kNoLimit) return kNoLimit;
  std::ifstream statistics(folder + "/memory.stat");
  double reclaimable = 0;
  for (std::string name; statistics >> name;) {
    double value = 0;
    statistics >> value;
    if (name == "inactive_file" || name == "active_file") reclaimable += value;
  }
  return std::max(0.0, limit - used + reclaimable);
}

}  // namespace

size_t available_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  double threads = 1;
  if (sched_getaffinity(0, sizeof set, &set) == 0) threads = CPU_COUNT(&set);
  for (const std::string& folder : cgroup_folders("cpu")) {
    const double quota = cpu_quota(folder);
    if (quota > 0 && !std::isnan(quota)) threads = std::min(threads, std::ceil(quota));
  }
  return static_cast<size_t>(std::max(1.0, threads));
}

size_t available_memory() {
  double bytes = host_memory("MemAvailable");
  for (const std::string& folder : cgroup_folders("memory")) {
    bytes = std::min(bytes, cgroup_memory_left(folder));
  }
  return bytes < 9e18 ? static_cast<size_t>(bytes) : SIZE_MAX;
}

size_t resident_memory() {
  std::ifstream file("/proc/self/statm");
  size_t total = 0;
  size_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace skvis
