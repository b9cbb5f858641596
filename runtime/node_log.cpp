#include "runtime/node_log.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <ctime>

namespace millrace::runtime {
namespace {

/// 2024-05-01T10:11:12.345Z
std::string time_text(spdlog::log_clock::time_point at) {
  auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch()).count();
  std::time_t seconds = ms / 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char out[40];
  auto length = std::strftime(out, sizeof out, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(out + length, sizeof out - length, ".%03dZ", static_cast<int>(ms % 1000));
  return out;
}

std::string_view level_text(spdlog::level::level_enum level) {
  switch (level) {
  case spdlog::level::trace:
    return "trace";
  case spdlog::level::debug:
    return "debug";
  case spdlog::level::info:
    return "info";
  case spdlog::level::warn:
    return "warn";
  case spdlog::level::err:
    return "error";
  default:
    return "critical";
  }
}

void append(spdlog::memory_buf_t& out, std::string_view text) { out.append(text.data(), text.data() + text.size()); }

class text_formatter final : public spdlog::formatter {
public:
  void format(const spdlog::details::log_msg& m, spdlog::memory_buf_t& out) override {
    append(out, time_text(m.time));
    auto level = std::string(level_text(m.level));
    level.resize(9, ' ');
    append(out, " " + level);
    auto component = std::string(m.logger_name.data(), m.logger_name.size());
    if (component.size() < 10) component.resize(10, ' ');
    append(out, component + " ");
    for (char c : m.payload) {
      if (c == '\n')
        append(out, " | ");
      else if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f)
        out.push_back(c); // no control sequence reaches a terminal
    }
    out.push_back('\n');
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<text_formatter>(); }
};

class json_formatter final : public spdlog::formatter {
public:
  explicit json_formatter(std::string node) : node_(std::move(node)) {}
  void format(const spdlog::details::log_msg& m, spdlog::memory_buf_t& out) override {
    nlohmann::ordered_json line{{"time", time_text(m.time)},
                                {"level", level_text(m.level)},
                                {"node", node_},
                                {"component", std::string(m.logger_name.data(), m.logger_name.size())},
                                {"message", std::string(m.payload.data(), m.payload.size())}};
    append(out, line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    out.push_back('\n');
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<json_formatter>(node_); }

private:
  std::string node_;
};

spdlog::level::level_enum level_of(std::string_view name) {
  if (name == "trace") return spdlog::level::trace;
  if (name == "debug") return spdlog::level::debug;
  if (name == "warn") return spdlog::level::warn;
  if (name == "error") return spdlog::level::err;
  if (name == "critical") return spdlog::level::critical;
  return spdlog::level::info;
}

} // namespace

actors::log_sink make_node_log(const std::string& level, bool json, const std::string& node) {
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  if (json)
    sink->set_formatter(std::make_unique<json_formatter>(node));
  else
    sink->set_formatter(std::make_unique<text_formatter>());
  sink->set_level(level_of(level));
  return [sink](std::string_view level, std::string_view component, std::string_view line) {
    auto severity = level_of(level);
    if (!sink->should_log(severity)) return;
    // Straight to the sink: the component takes the logger's place, and no registry of loggers is needed.
    spdlog::details::log_msg message(spdlog::string_view_t(component.data(), component.size()), severity,
                                     spdlog::string_view_t(line.data(), line.size()));
    try {
      sink->log(message);
      sink->flush();
    } catch (const std::exception&) { // standard error is gone: nobody reads, work goes on
    }
  };
}

} // namespace millrace::runtime
