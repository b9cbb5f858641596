#include "actors/ingest/file/file_source.hpp"
#include "actors/ingest/postgres/postgres_source.hpp"
#include "actors/ingest/source_reader.hpp"

namespace millrace::actors::ingest {

result<std::unique_ptr<source_reader>> make_source_reader(const source_spec& source) {
  if (source.type == "file") {
    if (!source.path.starts_with('/'))
      return make_failure(errc::invalid, "source.path is \"" + source.path + "\", expected an absolute path or glob");
    file::file_options options;
    options.pattern = source.path;
    options.format = source.format;
    options.envelope = source.envelope;
    options.follow = source.follow;
    return std::unique_ptr<source_reader>{std::make_unique<file::file_source>(std::move(options))};
  }
  if (source.type == "postgres") {
    const auto& pg = source.postgres;
    if (pg.connection.empty() || pg.slot.empty() || pg.publication.empty() || pg.tables.empty())
      return make_failure(errc::invalid, "a source of type postgres needs a connection, a publication, a slot and tables");
    return std::unique_ptr<source_reader>{std::make_unique<postgres::postgres_source>(pg)};
  }
  if (source.type == "http") return make_failure(errc::invalid, "a source of type http is pushed to: it has no reader");
  return make_failure(errc::invalid, "source.type is \"" + source.type + "\", expected file, http or postgres");
}

} // namespace millrace::actors::ingest
