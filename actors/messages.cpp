#include "actors/messages.hpp"

namespace millrace::actors {

namespace {
// caf::error carries a byte and an atom: ours name the category, storage's codes are shifted behind the actors'.
constexpr auto reason_atom = caf::atom("millrace");
constexpr std::uint8_t storage_base = 100, other_code = 99;
} // namespace

const char* to_string(role r) noexcept {
  switch (r) {
  case role::stage:
    return "stage";
  case role::ingest:
    return "ingest";
  case role::dispatcher:
    return "dispatcher";
  case role::worker:
    return "worker";
  case role::writer:
    return "writer";
  case role::alerts:
    return "alerts";
  }
  return "actor";
}

caf::error quit_reason(const failure& f) {
  std::uint8_t code = other_code;
  if (f.code.category() == actor_category()) code = static_cast<std::uint8_t>(f.code.value());
  if (f.code.category() == storage::category()) code = static_cast<std::uint8_t>(storage_base + f.code.value());
  return caf::error{code, reason_atom, caf::make_message(f.message)};
}

std::string describe(const caf::error& reason, const caf::actor_system& sys) {
  if (!reason) return "ended"; // a default error has no category to ask for
  if (reason.category() == reason_atom) {
    if (!reason.context().empty() && reason.context().match_element<std::string>(0))
      return reason.context().get_as<std::string>(0);
    return "unknown";
  }
  if (reason == caf::exit_reason::kill) return "killed";
  return sys.render(reason);
}

bool needs_operator(const caf::error& reason) {
  if (!reason || reason.category() != reason_atom) return false;
  const auto code = reason.code();
  return code == static_cast<std::uint8_t>(errc::fenced) || code == static_cast<std::uint8_t>(errc::log_mismatch) ||
         code == static_cast<std::uint8_t>(errc::halted) || code == static_cast<std::uint8_t>(errc::refused) ||
         code == storage_base + static_cast<std::uint8_t>(storage::errc::corrupt) ||
         code == storage_base + static_cast<std::uint8_t>(storage::errc::trimmed);
}

} // namespace millrace::actors
