#include "actors/errc.hpp"

namespace millrace::actors {
namespace {
class actors_category final : public std::error_category {
  const char* name() const noexcept override { return "millrace.actors"; }
  std::string message(int code) const override {
    switch (static_cast<errc>(code)) {
    case errc::unavailable:
      return "not reachable now";
    case errc::refused:
      return "refused";
    case errc::fenced:
      return "a newer owner has claimed it";
    case errc::log_mismatch:
      return "the destination belongs to another log";
    case errc::halted:
      return "halted on a bad change";
    case errc::stale_session:
      return "another ingest has attached";
    case errc::log_unavailable:
      return "the log cannot be appended to now";
    case errc::invalid:
      return "invalid argument";
    case errc::not_found:
      return "not found";
    case errc::conflict:
      return "changed meanwhile";
    case errc::killed:
      return "killed by an operator";
    }
    return "unknown error";
  }
};
} // namespace
const std::error_category& actor_category() noexcept {
  static const actors_category instance;
  return instance;
}
} // namespace millrace::actors
