#pragma once
// Connection strings before anything connects: their syntax, and texts that must not show what is secret in them.

#include <string>
#include <string_view>

namespace millrace::actors::postgres {

/// What is wrong with the syntax, as libpq has it: "host=a port=5432 dbname=shop", or postgresql://... . Empty: nothing. No value
/// is in it.
std::string conninfo_mistake(const std::string& conninfo);
/// A password stands in it as such (not in a password file, a service or the environment).
bool has_password(const std::string& conninfo);

/// `text` (a spec, a message) with every literal password of a connection string as ********: password=..., sslpassword=...,
/// postgresql://user:...@host. References (${env:NAME}) stay. Rather too much is hidden than too little.
std::string without_passwords(std::string_view text);
inline constexpr std::string_view password_mask = "********";

} // namespace millrace::actors::postgres
