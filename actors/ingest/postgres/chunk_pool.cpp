#include "actors/ingest/postgres/chunk_pool.hpp"

#include "actors/ingest/postgres/chunk_query.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

namespace millrace::actors::ingest::postgres {

using namespace std::chrono_literals;
using actors::postgres::query_result;
using clock = std::chrono::steady_clock;

class chunk_run {
public:
  explicit chunk_run(chunk_job j) : job(std::move(j)) {}
  const chunk_job job;
  // Under the pool's mutex.
  chunk_look now;
  std::deque<chunk_part> parts;
  std::size_t bytes = 0;
  bool abandoned = false;
};

/// The worker's side of one run.
struct chunk_pool::reader {
  chunk_pool& pool;
  chunk_run& run;
  std::stop_token stop;
  connection& link;

  void tell() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto n = ::write(pool.wake_, &one, sizeof one);
  }
  bool unwanted() const {
    std::lock_guard lock(pool.mutex_);
    return run.abandoned || stop.stop_requested();
  }
  void end(chunk_state state, failure why = {}) {
    {
      std::lock_guard lock(pool.mutex_);
      run.now.state = state;
      run.now.why = std::move(why);
    }
    tell();
  }
  /// False: nobody wants it.
  bool push(chunk_part part) {
    const auto bytes = part.block.payloads.size();
    {
      std::unique_lock lock(pool.mutex_);
      pool.changed_.wait(lock, stop,
                         [&] { return run.abandoned || run.bytes == 0 || run.bytes + bytes <= pool.options_.queue_bytes; });
      if (run.abandoned || stop.stop_requested()) return false;
      run.bytes += bytes;
      run.parts.push_back(std::move(part));
    }
    tell();
    return true;
  }

  result<void> read() {
    auto begun = begin_chunk(link, run.job);
    if (!begun) return begun.error();
    auto& chunk = begun.value();
    if (chunk.moved) {
      end(chunk_state::moved);
      return success();
    }
    {
      std::lock_guard lock(pool.mutex_);
      run.now.seen = chunk.seen;
      run.now.at = chunk.at;
      run.now.key_columns = chunk.key_columns;
    }
    tell();
    query_result copy(PQexec(link.get(), chunk.copy.c_str()));
    if (PQresultStatus(copy.get()) != PGRES_COPY_OUT) return link.failed(copy.get(), "COPY of " + run.job.table);
    if (auto ok = rows(chunk); !ok) return ok.error();
    if (auto ok = link.exec("COMMIT"); !ok) return ok.error();
    end(chunk_state::finished);
    return success();
  }

  storage::change_block fresh(const begun_chunk& chunk) const {
    storage::change_block b;
    b.format = storage::payload_format::pgcopy;
    b.origin = "snapshot " + run.job.table;
    b.context = chunk.context;
    b.payloads.reserve(pool.options_.part_bytes + pool.options_.part_bytes / 8);
    return b;
  }

  result<void> rows(const begun_chunk& chunk) {
    auto block = fresh(chunk);
    std::uint64_t before = 0; // rows in earlier parts
    const auto finish = [&](bool last) {
      if (!block.starts.empty()) block.transactions.push_back({0, 0, chunk.at.value, chunk.time_us, before});
      before += block.starts.size();
      const auto bytes = block.payloads.size();
      if (!push({std::move(block), last})) return false;
      block = fresh(chunk);
      pool.pace(bytes, run, stop);
      return true;
    };
    const auto gone = [&] { return make_failure(errc::unavailable, "the snapshot of " + run.job.table + " was ended"); };
    while (true) {
      char* data = nullptr;
      const int n = PQgetCopyData(link.get(), &data, 1);
      if (n > 0) {
        const std::unique_ptr<char, decltype(&PQfreemem)> row(data, &PQfreemem);
        auto size = static_cast<std::size_t>(n);
        if (data[size - 1] == '\n') --size;
        if (!block.starts.empty() && block.payloads.size() + size > 2 * pool.options_.part_bytes && !finish(false)) return gone();
        block.starts.push_back(static_cast<std::uint32_t>(block.payloads.size()));
        block.lengths.push_back(static_cast<std::uint32_t>(size));
        block.payloads.append(data, size);
        if (block.payloads.size() >= pool.options_.part_bytes && !finish(false)) return gone();
        continue;
      }
      if (n == 0) {
        pollfd fd{PQsocket(link.get()), POLLIN, 0};
        if (::poll(&fd, 1, 200) == 0 && unwanted()) return gone();
        if (PQconsumeInput(link.get()) == 0) return link.failed(nullptr, "COPY of " + run.job.table);
        continue;
      }
      query_result end(PQgetResult(link.get()));
      if (n == -2 || PQresultStatus(end.get()) != PGRES_COMMAND_OK) return link.failed(end.get(), "COPY of " + run.job.table);
      while (query_result{PQgetResult(link.get())}.get()) {
      }
      break;
    }
    return finish(true) ? result<void>(success()) : result<void>(gone());
  }
};

chunk_pool::chunk_pool(options o) : options_(std::move(o)), wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (wake_ < 0) throw std::runtime_error("eventfd failed");
  for (std::uint32_t i = 0; i < std::max<std::uint32_t>(options_.workers, 1); ++i)
    threads_.emplace_back([this](std::stop_token stop) { work(std::move(stop)); });
}

chunk_pool::~chunk_pool() {
  for (auto& t : threads_) t.request_stop();
  changed_.notify_all();
  threads_.clear();
  ::close(wake_);
}

void chunk_pool::clear_wake() noexcept {
  std::uint64_t n = 0;
  [[maybe_unused]] const auto r = ::read(wake_, &n, sizeof n);
}

std::size_t chunk_pool::idle() const {
  std::lock_guard lock(mutex_);
  const auto taken = busy_ + waiting_.size();
  return taken < threads_.size() ? threads_.size() - taken : 0;
}

chunk_run_ptr chunk_pool::start(chunk_job job) {
  auto run = std::make_shared<chunk_run>(std::move(job));
  {
    std::lock_guard lock(mutex_);
    waiting_.push_back(run);
  }
  changed_.notify_all();
  return run;
}

chunk_look chunk_pool::look(const chunk_run_ptr& run) const {
  std::lock_guard lock(mutex_);
  auto out = run->now;
  out.parts = !run->parts.empty();
  return out;
}

std::optional<chunk_part> chunk_pool::take(const chunk_run_ptr& run) {
  std::optional<chunk_part> out;
  {
    std::lock_guard lock(mutex_);
    if (run->parts.empty()) return out;
    out = std::move(run->parts.front());
    run->parts.pop_front();
    run->bytes -= out->block.payloads.size();
  }
  changed_.notify_all();
  return out;
}

void chunk_pool::abandon(const chunk_run_ptr& run) {
  {
    std::lock_guard lock(mutex_);
    run->abandoned = true;
    run->parts.clear();
  }
  changed_.notify_all();
}

void chunk_pool::pace(std::size_t bytes, const chunk_run& run, const std::stop_token& stop) {
  if (options_.rate == 0) return;
  std::unique_lock lock(mutex_);
  const auto now = clock::now();
  paced_until_ = std::max(paced_until_, now) + std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(
                                                   static_cast<double>(bytes) / static_cast<double>(options_.rate)));
  const auto until = paced_until_;
  changed_.wait_until(lock, stop, until, [&] { return run.abandoned; });
}

void chunk_pool::work(std::stop_token stop) {
  std::unique_ptr<connection> link;
  while (true) {
    chunk_run_ptr run;
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [&] { return !waiting_.empty(); })) return;
      run = std::move(waiting_.front());
      waiting_.pop_front();
      if (run->abandoned) continue;
      ++busy_;
    }
    result<void> done = success();
    if (!link || !link->alive()) {
      link.reset();
      auto opened = connection::open(options_.conninfo, source_options(options_.application_name + " snapshot", false));
      if (opened)
        link = std::move(opened).value();
      else
        done = opened.error();
    }
    if (link) {
      reader r{*this, *run, stop, *link};
      done = r.read();
      if (!done) {
        r.end(chunk_state::failed, done.error());
        link.reset(); // whatever it was in the middle of
      } else if (PQtransactionStatus(link->get()) != PQTRANS_IDLE && !link->exec("ROLLBACK")) {
        link.reset();
      }
    } else {
      std::lock_guard lock(mutex_);
      run->now.state = chunk_state::failed;
      run->now.why = done.error();
      const std::uint64_t one = 1;
      [[maybe_unused]] const auto n = ::write(wake_, &one, sizeof one);
    }
    std::lock_guard lock(mutex_);
    --busy_;
  }
}

} // namespace millrace::actors::ingest::postgres
