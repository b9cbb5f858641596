#include "tests/integration/support/temp_dir.hpp"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>

namespace millrace::testing {

temp_dir::temp_dir() {
  const char* base = std::getenv("TMPDIR");
  std::string pattern = std::string(base && *base ? base : "/tmp") + "/mr-XXXXXX";
  if (!mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp " + pattern + " failed");
  path_ = pattern;
}

temp_dir::~temp_dir() {
  if (std::getenv("MILLRACE_KEEP")) {
    std::cerr << "kept: " << path_ << '\n';
    return;
  }
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string read_file(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

namespace {
void put(const std::filesystem::path& file, std::string_view text, std::ios::openmode mode) {
  std::ofstream out(file, std::ios::binary | mode);
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  if (!out.flush()) throw std::runtime_error("cannot write " + file.string());
}
} // namespace

void write_file(const std::filesystem::path& file, std::string_view text) { put(file, text, std::ios::trunc); }
void append_file(const std::filesystem::path& file, std::string_view text) { put(file, text, std::ios::app); }

} // namespace millrace::testing
