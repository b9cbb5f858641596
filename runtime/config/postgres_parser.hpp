#pragma once
// What specs say about PostgreSQL, as a source and as a destination. Private to runtime/config.

#include "runtime/config/document_reader.hpp"

namespace millrace::runtime::config {

/// The keys of a `source` whose type is postgres. `pipeline` may be empty: a mistake that is noted elsewhere.
void read_postgres_source(document_reader& doc, section& s, const std::string& pipeline, actors::source_spec& out);
/// `connection`, checked by libpq's own parser without a server; empty after a mistake or an unresolved reference.
std::string read_connection(document_reader& doc, section& s);

/// "orders" is public.orders; only the first dot counts, so a table's own name may have dots.
std::string qualified(const std::string& table);
/// The table without its schema.
std::string table_part(const std::string& table);
/// Nothing, or what is wrong with an identifier: PostgreSQL cuts names above 63 bytes without a word.
std::string identifier_mistake(std::string_view name);

/// Defaults of slot and publication: millrace_PIPELINE in lower case, made distinct where a slot's name cannot be the pipeline's.
std::string default_slot(const std::string& pipeline);

} // namespace millrace::runtime::config
