# Every module of src/ is one static library. varve_module() names its sources, its unit tests and the
# lower modules it may use; tools/check_layers.py holds the includes to the same order.

add_library(varve_options INTERFACE)
target_include_directories(varve_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
# Generated code is not held to our warnings.
target_include_directories(varve_options SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/src)
target_compile_options(varve_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
  -Wno-sign-conversion -Wnon-virtual-dtor -Woverloaded-virtual -Werror=return-type)
target_compile_definitions(varve_options INTERFACE VARVE_VERSION="${PROJECT_VERSION}")
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_definitions(varve_options INTERFACE _FORTIFY_SOURCE=2)
endif()
target_compile_options(varve_options INTERFACE -fstack-protector-strong)
if(VARVE_WERROR)
  target_compile_options(varve_options INTERFACE -Werror)
endif()
if(VARVE_SANITIZE)
  target_compile_options(varve_options INTERFACE -fsanitize=${VARVE_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer -g)
  target_link_options(varve_options INTERFACE -fsanitize=${VARVE_SANITIZE})
endif()
if(VARVE_COVERAGE)
  target_compile_options(varve_options INTERFACE --coverage)
  target_link_options(varve_options INTERFACE --coverage)
endif()

# Generates every protobuf header: what tools that read the sources without building need.
add_custom_target(varve_protos)
# Builds the unit tests of every module, and no more.
add_custom_target(unit_tests)

# varve_module(NAME SOURCES a.cc … DEPENDS base … LIBRARIES external … PROTOS x.proto … TESTS a_test.cc …)
function(varve_module name)
  cmake_parse_arguments(M "" "" "SOURCES;DEPENDS;LIBRARIES;PROTOS;TESTS" ${ARGN})
  set(generated)
  set(headers)
  foreach(proto ${M_PROTOS})
    get_filename_component(stem ${proto} NAME_WE)
    get_filename_component(folder ${proto} DIRECTORY)
    set(to ${CMAKE_CURRENT_BINARY_DIR}/${folder})
    set(out ${to}/${stem}.pb)
    file(MAKE_DIRECTORY ${to})
    add_custom_command(OUTPUT ${out}.cc ${out}.h
      COMMAND protobuf::protoc --cpp_out=${to} -I${CMAKE_CURRENT_SOURCE_DIR}/${folder}
        ${CMAKE_CURRENT_SOURCE_DIR}/${proto}
      DEPENDS ${proto} VERBATIM)
    list(APPEND generated ${out}.cc)
    list(APPEND headers ${out}.h)
    set_source_files_properties(${out}.cc PROPERTIES COMPILE_OPTIONS "-w")
  endforeach()
  add_library(varve_${name} STATIC ${M_SOURCES} ${generated})
  target_link_libraries(varve_${name} PUBLIC varve_options)
  if(generated)
    add_custom_target(varve_${name}_protos DEPENDS ${generated} ${headers})
    add_dependencies(varve_protos varve_${name}_protos)
    add_dependencies(varve_${name} varve_${name}_protos)
  endif()
  foreach(dep ${M_DEPENDS})
    target_link_libraries(varve_${name} PUBLIC varve_${dep})
  endforeach()
  target_link_libraries(varve_${name} PUBLIC ${M_LIBRARIES})
  if(VARVE_TESTS AND M_TESTS)
    add_executable(${name}_test ${M_TESTS})
    target_include_directories(${name}_test PRIVATE ${CMAKE_SOURCE_DIR}/tests)
    target_link_libraries(${name}_test PRIVATE varve_${name} GTest::gmock GTest::gtest_main)
    add_dependencies(unit_tests ${name}_test)
    # Discovered at test time: a sanitizer's binary need not run while it is being built.
    gtest_discover_tests(${name}_test TEST_PREFIX "${name}/" DISCOVERY_MODE PRE_TEST
      DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300 LABELS unit)
  endif()
endfunction()

# varve_services_test(NAME SERVICES s3 … SOURCES a_test.cc … DEPENDS store …): tests against real servers, which
# tests/services/with.py starts beside them. One test for ctest, so that one start of the servers serves all cases.
function(varve_services_test name)
  cmake_parse_arguments(M "" "" "SERVICES;SOURCES;DEPENDS" ${ARGN})
  if(NOT VARVE_TESTS)
    return()
  endif()
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  add_executable(${name}_test ${M_SOURCES})
  target_include_directories(${name}_test PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  foreach(dep ${M_DEPENDS})
    target_link_libraries(${name}_test PRIVATE varve_${dep})
  endforeach()
  target_link_libraries(${name}_test PRIVATE GTest::gmock GTest::gtest_main)
  add_test(NAME services/${name}
    COMMAND Python3::Interpreter ${CMAKE_SOURCE_DIR}/tests/services/with.py ${M_SERVICES} -- $<TARGET_FILE:${name}_test>)
  # The first run of all fetches the servers.
  set_tests_properties(services/${name} PROPERTIES LABELS services TIMEOUT 1200)
endfunction()
