// Preloaded into a node by the chaos tests: its wall clock is the true one and what the file MILLRACE_TEST_CLOCK says, 8 bytes of
// nanoseconds that may be written at any time. What only goes on (CLOCK_MONOTONIC) stays as it is, as on a host whose clock is
// set.
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <ctime>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

namespace {

constexpr std::int64_t second = 1'000'000'000;

/// Null without the file: then nothing is changed.
const std::atomic<std::int64_t>* ahead() {
  static const std::atomic<std::int64_t>* const mapped = [] {
    const char* path = std::getenv("MILLRACE_TEST_CLOCK");
    const int fd = path ? ::open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return static_cast<const std::atomic<std::int64_t>*>(nullptr);
    void* at = ::mmap(nullptr, sizeof(std::int64_t), PROT_READ, MAP_SHARED, fd, 0);
    ::close(fd);
    return at == MAP_FAILED ? nullptr : static_cast<const std::atomic<std::int64_t>*>(at);
  }();
  return mapped;
}

bool is_wall(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

} // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* out) noexcept {
  using function = int (*)(clockid_t, timespec*);
  static const auto real = reinterpret_cast<function>(::dlsym(RTLD_NEXT, "clock_gettime"));
  const int result = real ? real(clock, out) : static_cast<int>(::syscall(SYS_clock_gettime, clock, out));
  if (result != 0 || !is_wall(clock)) return result;
  if (const auto* by = ahead()) {
    const auto at = std::int64_t{out->tv_sec} * second + out->tv_nsec + by->load(std::memory_order_relaxed);
    out->tv_sec = at / second;
    out->tv_nsec = at % second;
  }
  return 0;
}

int gettimeofday(timeval* out, void*) noexcept {
  timespec now{};
  if (clock_gettime(CLOCK_REALTIME, &now) == 0) *out = {now.tv_sec, now.tv_nsec / 1000};
  return 0;
}

time_t time(time_t* out) noexcept {
  timespec now{};
  (void)clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}

} // extern "C"
