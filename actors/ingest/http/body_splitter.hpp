#pragma once
// A pushed body becomes blocks of changes. Pure.

#include "storage/batch.hpp"

#include <string>
#include <vector>

namespace millrace::actors::ingest::http {

/// "PRODUCER/SEQUENCE", so that a dead letter names the push it came with; "http" for a push without a producer.
std::string origin_of(const std::string& producer, std::uint64_t sequence, bool has_sequence);

/// Cuts an NDJSON body into blocks of about `block_bytes` of payload (a longer record has a block of its own), framed as
/// interfaces.md says for files; a last line without LF is a record. The blocks must be staged by ONE append: a body is staged
/// whole or not at all. `state` rides on the last one, so it is there only if everything is. A body without records gives a block
/// without changes if there is state, else nothing. `body` must be shorter than 4 GiB (limits.body is far below).
std::vector<storage::change_block> split_body(std::string body, storage::envelope envelope, const std::string& origin,
                                              std::vector<storage::state_entry> state, std::size_t block_bytes = 1u << 20);

/// What an answer's `accepted` counts.
std::uint64_t changes_in(const std::vector<storage::change_block>& blocks) noexcept;

} // namespace millrace::actors::ingest::http
