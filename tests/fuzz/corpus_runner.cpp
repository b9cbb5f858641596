// Runs a fuzz target without libFuzzer: its seeds, the inputs kept in a folder, and random changes of them for some seconds.
//   corpus_runner FOLDER SECONDS     prints its seed; MILLRACE_SEED repeats one
//   corpus_runner --write FOLDER     writes the seeds there, for libFuzzer to begin with

#include "tests/fuzz/link_frame_script.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size);

namespace {

void run(const std::string& input) { LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size()); }

std::string change(std::string input, const std::vector<std::string>& all, std::mt19937_64& random) {
  auto at = [&] { return input.empty() ? 0 : random() % input.size(); };
  for (auto times = 1 + random() % 8; times > 0; --times) switch (random() % 7) {
    case 0:
      if (!input.empty()) input[at()] = static_cast<char>(random());
      break;
    case 1:
      if (!input.empty()) input[at()] ^= static_cast<char>(1 << random() % 8);
      break;
    case 2:
      input.insert(at(), 1 + random() % 8, static_cast<char>(random()));
      break;
    case 3:
      if (!input.empty()) input.erase(at(), 1 + random() % 16);
      break;
    case 4:
      input += all[random() % all.size()];
      break;
    case 5: {
      const auto& other = all[random() % all.size()];
      input = input.substr(0, at()) + other.substr(random() % (other.size() + 1));
      break;
    }
    default: { // numbers at the edges of what fits
      static constexpr std::uint64_t edges[] = {0, 1, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, 0xffffffffffffffff, 0x20000001};
      auto n = edges[random() % std::size(edges)];
      auto where = at();
      std::memcpy(input.data() + where, &n, std::min<std::size_t>(input.size() - where, std::size_t(1) << random() % 4));
    }
    }
  input.resize(std::min<std::size_t>(input.size(), 16 * 1024));
  return input;
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s FOLDER SECONDS | --write FOLDER\n", argv[0]);
    return 2;
  }
  auto all = link_frame_seeds();
  if (std::strcmp(argv[1], "--write") == 0) {
    std::filesystem::create_directories(argv[2]);
    for (std::size_t i = 0; i < all.size(); ++i)
      std::ofstream(std::filesystem::path(argv[2]) / ("seed-" + std::to_string(i)), std::ios::binary) << all[i];
    return 0;
  }
  if (std::filesystem::is_directory(argv[1]))
    for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
      std::ifstream in(entry.path(), std::ios::binary);
      all.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    }
  for (const auto& input : all) run(input);
  const char* given = std::getenv("MILLRACE_SEED");
  auto seed = given ? std::strtoull(given, nullptr, 10) : std::random_device()();
  std::printf("%zu inputs; MILLRACE_SEED=%llu\n", all.size(), static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  std::mt19937_64 random(seed);
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(argv[2]));
  std::size_t runs = 0;
  for (; std::chrono::steady_clock::now() < end; ++runs) {
    auto input = change(all[random() % all.size()], all, random);
    run(input);
    if (runs % 64 == 0 && all.size() < 4096) all.push_back(std::move(input)); // changes of changes
  }
  std::printf("%zu changed inputs\n", runs);
}
