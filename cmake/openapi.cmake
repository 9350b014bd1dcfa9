# SPDX-License-Identifier: Apache-2.0
# Compiles docs/openapi.yaml into a room, as JSON: scripts/openapi_json.py needs nothing but Python.

function(skvis_openapi target)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  set(script ${CMAKE_SOURCE_DIR}/scripts/openapi_json.py)
  set(yaml ${CMAKE_SOURCE_DIR}/docs/openapi.yaml)
  set(generated ${CMAKE_BINARY_DIR}/generated/openapi.cpp)
  add_custom_command(OUTPUT ${generated}
                     COMMAND Python3::Interpreter ${script} --cpp ${PROJECT_VERSION} ${yaml} ${generated}
                     DEPENDS ${script} ${yaml} VERBATIM)
  target_sources(${target} PRIVATE ${generated})
endfunction()
