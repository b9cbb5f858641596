#include "runtime/http/metrics_text.hpp"

#include "runtime/version.hpp"

#include <nlohmann/json.hpp>
#include <prometheus/check_names.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>

namespace millrace::runtime::http {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

class families {
public:
  MetricFamily& of(const std::string& name, const std::string& help, MetricType type) {
    auto [at, is_new] = index_.try_emplace(name, all_.size());
    if (is_new) all_.push_back({name, help, type, {}});
    return all_[at->second];
  }
  void gauge(const std::string& name, const std::string& help, double value, std::vector<ClientMetric::Label> labels = {}) {
    ClientMetric m;
    m.label = std::move(labels);
    m.gauge.value = value;
    of(name, help, MetricType::Gauge).metric.push_back(std::move(m));
  }
  void counter(const std::string& name, const std::string& help, double value, std::vector<ClientMetric::Label> labels = {}) {
    ClientMetric m;
    m.label = std::move(labels);
    m.counter.value = value;
    of(name, help, MetricType::Counter).metric.push_back(std::move(m));
  }
  const std::vector<MetricFamily>& all() const { return all_; }

private:
  std::vector<MetricFamily> all_;
  std::map<std::string, std::size_t> index_;
};

double number(const nlohmann::json& v) {
  if (v.is_number()) return v.get<double>();
  if (v.is_string() && (v == "+Inf" || v == "Inf")) return std::numeric_limits<double>::infinity();
  throw std::invalid_argument("no number");
}

void add_sample(families& out, const nlohmann::json& s) {
  auto name = s.at("name").get<std::string>();
  auto kind = s.at("type").get<std::string>();
  auto type = kind == "counter" ? MetricType::Counter : kind == "gauge" ? MetricType::Gauge : MetricType::Histogram;
  if (!prometheus::CheckMetricName(name) || (type == MetricType::Histogram && kind != "histogram"))
    throw std::invalid_argument(name);
  ClientMetric m;
  if (auto labels = s.find("labels"); labels != s.end())
    for (const auto& [key, value] : labels->items()) {
      if (!prometheus::CheckLabelName(key)) throw std::invalid_argument(key);
      m.label.push_back({key, value.is_string() ? value.get<std::string>() : value.dump()});
    }
  if (type == MetricType::Counter)
    m.counter.value = number(s.at("value"));
  else if (type == MetricType::Gauge)
    m.gauge.value = number(s.at("value"));
  else {
    m.histogram.sample_count = s.at("count").get<std::uint64_t>();
    m.histogram.sample_sum = number(s.at("sum"));
    for (const auto& b : s.at("buckets")) m.histogram.bucket.push_back({b.at(1).get<std::uint64_t>(), number(b.at(0))});
    if (m.histogram.bucket.empty() || !std::isinf(m.histogram.bucket.back().upper_bound))
      m.histogram.bucket.push_back({m.histogram.sample_count, std::numeric_limits<double>::infinity()});
  }
  auto& family = out.of(name, s.value("help", ""), type);
  if (family.type != type) throw std::invalid_argument(name); // one name, two types: Prometheus would refuse the whole page
  family.metric.push_back(std::move(m));
}

/// The names are those of every Prometheus client library.
void add_process(families& out) {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t virtual_pages = 0, resident_pages = 0;
  if (statm >> virtual_pages >> resident_pages) {
    auto page = static_cast<double>(sysconf(_SC_PAGESIZE));
    out.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", static_cast<double>(resident_pages) * page);
    out.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", static_cast<double>(virtual_pages) * page);
  }
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; };
    out.counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.",
                seconds(usage.ru_utime) + seconds(usage.ru_stime));
  }
  if (DIR* dir = opendir("/proc/self/fd")) {
    int count = -3; // ".", ".." and the descriptor of this very listing
    while (readdir(dir)) ++count;
    closedir(dir);
    out.gauge("process_open_fds", "Number of open file descriptors.", count);
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
    out.gauge("process_max_fds", "Maximum number of open file descriptors.", static_cast<double>(limit.rlim_cur));
  std::ifstream stat("/proc/self/stat");
  std::string line;
  if (std::getline(stat, line)) {
    // Fields after "(name)", which may hold spaces itself: 3 is the first behind it, 20 the threads, 22 the start in ticks.
    std::istringstream rest(line.substr(line.rfind(')') + 1));
    std::string field;
    double threads = 0, start_ticks = 0;
    for (int i = 3; i <= 22 && rest >> field; ++i) {
      if (i == 20) threads = std::atof(field.c_str());
      if (i == 22) start_ticks = std::atof(field.c_str());
    }
    out.gauge("process_threads", "Number of OS threads.", threads);
    std::ifstream boot("/proc/stat");
    double boot_seconds = 0;
    while (std::getline(boot, line))
      if (line.starts_with("btime ")) boot_seconds = std::atof(line.c_str() + 6);
    if (boot_seconds > 0)
      out.gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.",
                boot_seconds + start_ticks / static_cast<double>(sysconf(_SC_CLK_TCK)));
  }
}

} // namespace

std::string metrics_text(std::string_view samples, const request_counts& requests, unsigned open_connections) {
  families out;
  std::uint64_t invalid = 0;
  auto parsed = nlohmann::json::parse(samples);
  if (parsed.is_array())
    for (const auto& s : parsed) {
      try {
        add_sample(out, s);
      } catch (const std::exception&) { // one bad sample must not hide the others; the count below says it
        ++invalid;
      }
    }
  else
    ++invalid;
  out.gauge("millrace_metrics_invalid_samples", "Samples that could not be shown.", static_cast<double>(invalid));
  out.gauge("millrace_build_info", "Always 1; the labels tell the version.", 1, {{"version", version}});
  out.gauge("millrace_http_connections", "Open HTTP connections.", open_connections);
  for (const auto& [key, count] : requests)
    out.counter("millrace_http_requests_total", "HTTP requests answered.", static_cast<double>(count),
                {{"route", key.first}, {"status", std::to_string(key.second)}});
  add_process(out);
  return prometheus::TextSerializer().Serialize(out.all());
}

} // namespace millrace::runtime::http
