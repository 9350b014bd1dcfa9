# SPDX-License-Identifier: Apache-2.0
# Compiles plans/*.json into a room: each becomes a raw string literal of one generated source.

function(skvis_presets target)
  file(GLOB files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/plans/*.json)
  list(SORT files)
  set(entries "")
  foreach(path ${files})
    set_property(DIRECTORY ${CMAKE_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
    get_filename_component(name ${path} NAME_WE)
    file(READ ${path} text)
    string(APPEND entries "    {\"${name}\", R\"plan(${text})plan\"},\n")
  endforeach()
  set(generated ${CMAKE_BINARY_DIR}/generated/presets.cpp)
  file(CONFIGURE OUTPUT ${generated} @ONLY CONTENT
"// Generated from plans/*.json by cmake/presets.cmake.
#include \"plan/presets.hpp\"

namespace skvis {

std::span<const Preset> built_in_presets() {
  static constexpr Preset kPresets[] = {
@entries@  };
  return kPresets;
}

}  // namespace skvis
")
  target_sources(${target} PRIVATE ${generated})
endfunction()
