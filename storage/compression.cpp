#include "storage/compression_internal.hpp"

#include <lz4.h>
#include <zstd.h>

#include <cstring>
#include <memory>
#include <vector>

namespace millrace::storage {
namespace {

// Level 1: the log writes and reads each byte once or twice, so speed pays more than the last tenth of size.
constexpr int zstd_level = 1;
constexpr std::size_t scratch_kept_bytes = 8u << 20;

struct cctx_closer {
  void operator()(ZSTD_CCtx* c) const noexcept { ZSTD_freeCCtx(c); }
};
struct dctx_closer {
  void operator()(ZSTD_DCtx* c) const noexcept { ZSTD_freeDCtx(c); }
};

std::vector<char>& scratch(std::size_t size) {
  thread_local std::vector<char> buffer;
  if (buffer.size() > scratch_kept_bytes && size <= scratch_kept_bytes) std::vector<char>().swap(buffer);
  if (buffer.size() < size) buffer.resize(size);
  return buffer;
}

std::size_t compress_zstd(std::span<const char> raw, std::vector<char>& to) {
  thread_local const std::unique_ptr<ZSTD_CCtx, cctx_closer> context{ZSTD_createCCtx()};
  if (!context) return 0;
  const auto size = ZSTD_compressCCtx(context.get(), to.data(), to.size(), raw.data(), raw.size(), zstd_level);
  return ZSTD_isError(size) ? 0 : size;
}

failure damaged(const char* name, std::size_t expected) {
  return {errc::corrupt, std::string("the ") + name + " block does not decompress to the " + std::to_string(expected) +
                             " bytes its header names"};
}

} // namespace

codec compress(codec c, std::span<const char> raw, std::string& out) {
  out.clear();
  std::size_t size = 0;
  if (c == codec::lz4 && raw.size() <= LZ4_MAX_INPUT_SIZE) {
    auto& to = scratch(static_cast<std::size_t>(LZ4_compressBound(static_cast<int>(raw.size()))));
    size = static_cast<std::size_t>(
        LZ4_compress_default(raw.data(), to.data(), static_cast<int>(raw.size()), static_cast<int>(to.size())));
    if (size != 0 && size < raw.size()) out.assign(to.data(), size);
  } else if (c == codec::zstd) {
    auto& to = scratch(ZSTD_compressBound(raw.size()));
    size = compress_zstd(raw, to);
    if (size != 0 && size < raw.size()) out.assign(to.data(), size);
  }
  return out.empty() ? codec::none : c;
}

result<void> decompress(codec c, std::string_view stored, std::span<char> raw) {
  switch (c) {
  case codec::none:
    if (stored.size() != raw.size()) return damaged("uncompressed", raw.size());
    std::memcpy(raw.data(), stored.data(), stored.size());
    return success();
  case codec::lz4: {
    if (stored.size() > LZ4_MAX_INPUT_SIZE || raw.size() > LZ4_MAX_INPUT_SIZE) return damaged("lz4", raw.size());
    const int size =
        LZ4_decompress_safe(stored.data(), raw.data(), static_cast<int>(stored.size()), static_cast<int>(raw.size()));
    if (size < 0 || static_cast<std::size_t>(size) != raw.size()) return damaged("lz4", raw.size());
    return success();
  }
  case codec::zstd: {
    thread_local const std::unique_ptr<ZSTD_DCtx, dctx_closer> context{ZSTD_createDCtx()};
    if (!context) return failure{errc::io_failed, "no memory for a zstd context"};
    const auto size = ZSTD_decompressDCtx(context.get(), raw.data(), raw.size(), stored.data(), stored.size());
    if (ZSTD_isError(size) || size != raw.size()) return damaged("zstd", raw.size());
    return success();
  }
  }
  return failure{errc::corrupt, "unknown codec " + std::to_string(static_cast<int>(c)) + ": written by a newer version?"};
}

} // namespace millrace::storage
