#include "tests/integration/support/process.hpp"

#include "tests/integration/support/temp_dir.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace millrace::testing {
namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

pid_t launch(const spawn_options& options, int out, int err) {
  std::vector<std::string> env;
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view text = *entry;
    bool replaced = false;
    for (const auto& [name, value] : options.env) replaced |= text.starts_with(name + "=");
    if (!replaced) env.emplace_back(text);
  }
  for (const auto& [name, value] : options.env) env.push_back(name + "=" + value);
  std::vector<char*> argv, envp;
  for (const auto& word : options.argv) argv.push_back(const_cast<char*>(word.c_str()));
  for (const auto& entry : env) envp.push_back(const_cast<char*>(entry.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) throw std::runtime_error("fork failed: " + std::string(std::strerror(errno)));
  if (pid > 0) return pid;
  // In the child: only calls that are safe after fork().
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::dup2(null, 0);
  ::dup2(out, 1);
  ::dup2(err, 2);
  ::close_range(3, ~0u, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  if (!options.directory.empty() && ::chdir(options.directory.c_str()) != 0) ::_exit(126);
  ::execve(argv[0], argv.data(), envp.data());
  ::_exit(127);
}

std::string drain(int fd) {
  std::string text(static_cast<std::size_t>(::lseek(fd, 0, SEEK_END)), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const auto got = ::pread(fd, text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (got <= 0) break;
    done += static_cast<std::size_t>(got);
  }
  text.resize(done);
  return text;
}

/// Readable once the process has ended. By number: glibc 2.36 declares its wrapper without C linkage.
int open_process(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

struct descriptor {
  int fd;
  ~descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

} // namespace

child child::start(const spawn_options& options) {
  descriptor out{
      ::open(options.output.empty() ? "/dev/null" : options.output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)};
  if (out.fd < 0) throw std::runtime_error("cannot open " + options.output.string());
  return child(launch(options, out.fd, out.fd));
}

child::~child() {
  if (pid_ <= 0 || status_) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void child::signal(int number) {
  if (!status_ && ::kill(pid_, number) != 0) throw std::runtime_error("kill failed: " + std::string(std::strerror(errno)));
}

std::optional<int> child::wait_for(milliseconds limit) {
  if (status_) return status_;
  descriptor handle{open_process(pid_)};
  pollfd watched{handle.fd, POLLIN, 0};
  if (handle.fd >= 0) ::poll(&watched, 1, static_cast<int>(limit.count()));
  int raw = 0;
  if (::waitpid(pid_, &raw, WNOHANG) != pid_) return std::nullopt;
  status_ = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
  return status_;
}

std::uint64_t child::peak_memory() const {
  std::ifstream in("/proc/" + std::to_string(pid_) + "/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) * 1024;
  return 0;
}

run_result run(const spawn_options& options, milliseconds limit) {
  // Files in memory instead of pipes: a child that writes a lot cannot block on a reader that waits for its end.
  descriptor out{::memfd_create("out", MFD_CLOEXEC)}, err{::memfd_create("err", MFD_CLOEXEC)};
  if (out.fd < 0 || err.fd < 0) throw std::runtime_error("memfd_create failed");
  const pid_t pid = launch(options, out.fd, err.fd);
  descriptor handle{open_process(pid)};
  pollfd watched{handle.fd, POLLIN, 0};
  const bool ended = ::poll(&watched, 1, static_cast<int>(limit.count())) == 1;
  if (!ended) ::kill(pid, SIGKILL);
  int raw = 0;
  ::waitpid(pid, &raw, 0);
  run_result result{WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw), drain(out.fd), drain(err.fd)};
  if (!ended)
    throw std::runtime_error("still running after " + std::to_string(limit.count()) + " ms: " + joined(options.argv) + "\n" +
                             result.err);
  return result;
}

} // namespace millrace::testing
