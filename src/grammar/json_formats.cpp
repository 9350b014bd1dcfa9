// SPDX-License-Identifier: Apache-2.0
#include "grammar/json_formats.hpp"

namespace skvis {
namespace {

// 29 February needs a leap year and :60 a leap second: both are left out.
#define SKVIS_DATE                                                                             \
  "[0-9]{3}[1-9]-(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|[0-9]{3}[1-9]-(0[469]|11)-(0[1-9]|" \
  "[12][0-9]|30)|[0-9]{3}[1-9]-02-(0[1-9]|1[0-9]|2[0-8])"
#define SKVIS_TIME \
  "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define SKVIS_LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define SKVIS_OCTET "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"

struct Format {
  std::string_view name;
  std::string_view pattern;
};

// RFC 3339 (date, time, date-time, duration), 4122 (uuid), 5321 without quotes (email), 1123
// (hostname), 2673 (ipv4), 4291 in full form (ipv6).
constexpr Format kFormats[] = {
    {"date", "^(" SKVIS_DATE ")$"},
    {"time", "^" SKVIS_TIME "$"},
    {"date-time", "^(" SKVIS_DATE ")T" SKVIS_TIME "$"},
    {"duration",
     "^P([1-9][0-9]{0,3}D|[1-9][0-9]{0,3}W|T[1-9][0-9]{0,3}H|T[1-9][0-9]{0,3}M|T[1-9][0-9]{0,3}S|"
     "[1-9][0-9]{0,3}DT[1-9][0-9]{0,3}H)$"},
    {"uuid", "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"},
    {"email", "^[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,15}){0,2}@" SKVIS_LABEL "(\\." SKVIS_LABEL
              "){1,2}$"},
    {"hostname", "^" SKVIS_LABEL "(\\." SKVIS_LABEL "){0,2}$"},
    {"ipv4", "^" SKVIS_OCTET "(\\." SKVIS_OCTET "){3}$"},
    {"ipv6", "^[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){7}$"},
};

}  // namespace

std::optional<std::string> pattern_of_format(std::string_view format) {
  for (const Format& each : kFormats) {
    if (each.name == format) return std::string(each.pattern);
  }
  return std::nullopt;
}

std::string supported_formats() {
  std::string list;
  for (const Format& each : kFormats) {
    if (!list.empty()) list += ", ";
    list += each.name;
  }
  return list;
}

}  // namespace skvis
