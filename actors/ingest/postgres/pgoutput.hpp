#pragma once
// Messages of PostgreSQL's `pgoutput` plugin, protocol 1, values as text: bytes in, what they say out. No I/O, no allocation but
// for what is returned. Every read is bounds-checked: none means that the bytes are no such message, whole and nothing behind it.
// Source: PostgreSQL's documentation, "Logical Replication Message Formats".

#include "actors/ingest/postgres/lsn.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::actors::ingest::postgres {

struct begin_message {
  lsn commit;               ///< where its commit record begins: transactions come in this order
  std::int64_t time_us = 0; ///< since 1970
  xid id;
};

struct commit_message {
  lsn commit, end; ///< `end`: behind the commit record; what may be confirmed once all of it is durable
};

struct relation_message {
  struct column {
    bool identity = false;
    std::string name;
    std::uint32_t type = 0;
    std::int32_t modifier = -1;
    friend bool operator==(const column&, const column&) = default;
  };
  std::uint32_t id = 0;
  std::string schema, name;
  char identity = 'd'; ///< d(efault), n(othing), f(ull), i(ndex)
  std::vector<column> columns;
  friend bool operator==(const relation_message&, const relation_message&) = default;
};

struct truncate_message {
  std::uint8_t options = 0; ///< 1: cascade, 2: restart identity
  std::vector<std::uint32_t> relations;
};

struct tuple_cell {
  enum class kind : std::uint8_t { null, unchanged, text };
  kind k = kind::null; ///< unchanged: a TOASTed value that the change did not touch and does not carry
  std::string_view text;
};

/// Insert, update, delete. The cells point into the message.
struct row_change {
  char kind = 0; ///< I, U, D
  std::uint32_t relation = 0;
  char old_kind = 0; ///< K: only the identity columns of `before` are set; O: the whole old row; 0: none
  std::vector<tuple_cell> before, after;
};

std::optional<begin_message> read_begin(std::string_view message);
std::optional<commit_message> read_commit(std::string_view message);
std::optional<relation_message> read_relation(std::string_view message);
std::optional<truncate_message> read_truncate(std::string_view message);
/// Of an insert, an update or a delete, without reading on.
std::optional<std::uint32_t> relation_of(std::string_view message);
/// Into `change`, whose memory is used again.
bool read_change(std::string_view message, row_change& change);

/// A truncate of one relation, as the server would have sent it.
std::string truncate_of(std::uint32_t relation, std::uint8_t options);

} // namespace millrace::actors::ingest::postgres
