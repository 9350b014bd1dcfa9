# SPDX-License-Identifier: Apache-2.0
# A room is a folder under src/ and a library skvis_<room>; its tests lie in tests/<room>/*_test.cpp.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

add_library(skvis_options INTERFACE)
target_include_directories(skvis_options INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
# A multiplication and an addition stay two roundings unless the source says fma: the scalar
# references are the specification, and must mean the same on every compiler.
# Designated initialisers leave members at their defaults on purpose.
target_compile_options(skvis_options INTERFACE -Wall -Wextra -Wno-missing-field-initializers
                       -ffp-contract=off)
target_compile_definitions(skvis_options INTERFACE SKVIS_VERSION="${PROJECT_VERSION}")
if(SKVIS_SANITIZE)
  target_compile_options(skvis_options INTERFACE -fsanitize=${SKVIS_SANITIZE} -fno-omit-frame-pointer
                         -fno-sanitize-recover=all)
  target_link_options(skvis_options INTERFACE -fsanitize=${SKVIS_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")  # which takes the sanitizers' own code for uninitialised
    target_compile_options(skvis_options INTERFACE -Wno-maybe-uninitialized)
  endif()
endif()

function(skvis_room name)
  cmake_parse_arguments(ROOM "" "" "ROOMS;LIBS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cpp)
  set(room_libs "")
  foreach(room ${ROOM_ROOMS})
    list(APPEND room_libs skvis_${room})
  endforeach()
  if(sources)
    add_library(skvis_${name} STATIC ${sources})
    target_link_libraries(skvis_${name} PUBLIC skvis_options ${room_libs} ${ROOM_LIBS})
  else()
    add_library(skvis_${name} INTERFACE)
    target_link_libraries(skvis_${name} INTERFACE skvis_options ${room_libs} ${ROOM_LIBS})
  endif()
endfunction()

# One test program per folder under tests/, linked with the room of the same name; a folder that is
# no room (contract, end_to_end) is linked with everything.
function(skvis_tests)
  include(GoogleTest)
  file(GLOB folders RELATIVE ${CMAKE_SOURCE_DIR}/tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/*)
  foreach(folder ${folders})
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${folder}/*.cpp)
    if(sources)
      add_executable(test_${folder} ${sources})
      target_include_directories(test_${folder} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
      if(TARGET skvis_${folder})
        target_link_libraries(test_${folder} PRIVATE skvis_${folder})
      else()
        target_link_libraries(test_${folder} PRIVATE skvis_cli)
      endif()
      target_link_libraries(test_${folder} PRIVATE GTest::gtest_main GTest::gmock)
      target_compile_definitions(test_${folder} PRIVATE SKVIS_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
      gtest_discover_tests(test_${folder} NO_PRETTY_VALUES PROPERTIES TIMEOUT 900 DISCOVERY_TIMEOUT 60
                           PROPERTIES LABELS ${folder})
    endif()
  endforeach()
endfunction()

# The checks of the tree, and the tests of the scripts themselves: tests/scripts/*_test.py.
function(skvis_script_tests)
  find_package(Python3 COMPONENTS Interpreter)
  if(NOT Python3_FOUND)
    message(WARNING "Python 3 was not found: the checks of layers and sizes are not among the tests")
    return()
  endif()
  foreach(check check_layers check_sizes)
    add_test(NAME tree.${check} COMMAND Python3::Interpreter ${CMAKE_SOURCE_DIR}/scripts/${check}.py)
    set_tests_properties(tree.${check} PROPERTIES LABELS scripts)
  endforeach()
  file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/scripts/*_test.py)
  foreach(test ${tests})
    cmake_path(GET test STEM name)
    add_test(NAME scripts.${name} COMMAND Python3::Interpreter ${test})
    set_tests_properties(scripts.${name} PROPERTIES LABELS scripts
                         ENVIRONMENT SKVIS_BINARY=$<TARGET_FILE:skvis>)
  endforeach()
endfunction()
