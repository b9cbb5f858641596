#pragma once

namespace millrace::runtime {
inline constexpr const char* version = "0.1.0"; // as in the root CMakeLists.txt
}
