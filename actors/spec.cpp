#include "actors/spec.hpp"

namespace millrace::actors {

namespace {
constexpr std::pair<data_type, const char*> type_names[] = {{data_type::boolean, "bool"},    {data_type::int64, "int64"},
                                                            {data_type::float64, "float64"}, {data_type::decimal, "decimal"},
                                                            {data_type::text, "text"},       {data_type::bytes, "bytes"},
                                                            {data_type::date, "date"},       {data_type::timestamp, "timestamp"},
                                                            {data_type::uuid, "uuid"},       {data_type::json, "json"}};
} // namespace

const char* to_string(data_type t) noexcept {
  for (const auto& [type, name] : type_names)
    if (type == t) return name;
  return "unknown";
}

std::optional<data_type> data_type_of(std::string_view name) noexcept {
  for (const auto& [type, text] : type_names)
    if (name == text) return type;
  return std::nullopt;
}

const char* to_string(load_mode m) noexcept {
  switch (m) {
  case load_mode::upsert:
    return "upsert";
  case load_mode::append:
    return "append";
  case load_mode::soft_delete:
    return "soft_delete";
  case load_mode::history:
    return "history";
  }
  return "unknown";
}

const char* to_string(snapshot_mode m) noexcept {
  switch (m) {
  case snapshot_mode::initial:
    return "initial";
  case snapshot_mode::never:
    return "never";
  case snapshot_mode::only:
    return "only";
  }
  return "unknown";
}

const char* to_string(step_kind k) noexcept {
  switch (k) {
  case step_kind::where:
    return "where";
  case step_kind::set:
    return "set";
  case step_kind::rename:
    return "rename";
  case step_kind::drop:
    return "drop";
  case step_kind::mask:
    return "mask";
  case step_kind::lua:
    return "lua";
  }
  return "unknown";
}

} // namespace millrace::actors
