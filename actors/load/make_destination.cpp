#include "actors/load/destination.hpp"
#include "actors/load/postgres/postgres_destination.hpp"
#include "actors/load/sqlite/sqlite_destination.hpp"

namespace millrace::actors::load {

result<std::unique_ptr<destination>> make_destination(const load_spec& load) {
  if (load.destination.type == "sqlite") return make_sqlite_destination(load);
  if (load.destination.type == "postgres") return make_postgres_destination(load);
  return make_failure(errc::invalid, "load " + load.name + ": destination type " + load.destination.type +
                                         " is not available in this version; expected sqlite or postgres");
}

} // namespace millrace::actors::load
