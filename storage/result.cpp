#include "storage/result.hpp"

namespace millrace::storage {
namespace {
class storage_category final : public std::error_category {
  const char* name() const noexcept override { return "millrace.storage"; }
  std::string message(int code) const override {
    switch (static_cast<errc>(code)) {
    case errc::io_failed:
      return "the disk refused";
    case errc::corrupt:
      return "stored data is damaged";
    case errc::trimmed:
      return "dropped by retention";
    case errc::fenced:
      return "a newer epoch owns the partition";
    case errc::no_space:
      return "too little free disk space";
    case errc::not_found:
      return "not found";
    case errc::conflict:
      return "changed meanwhile";
    case errc::invalid:
      return "invalid argument";
    case errc::end_of_log:
      return "end of the log";
    case errc::stale_session:
      return "another ingest has attached";
    case errc::unavailable:
      return "cannot be reached now";
    case errc::unknown_outcome:
      return "the answer was lost";
    }
    return "unknown storage error";
  }
};
} // namespace
const std::error_category& category() noexcept {
  static const storage_category instance;
  return instance;
}
} // namespace millrace::storage
