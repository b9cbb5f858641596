#pragma once
// Rows as COPY's binary format takes them: the server parses nothing, which is what bounds a load by text. Pure.

#include "actors/load/postgres/copy_buffer.hpp"
#include "actors/transform/row_set.hpp"

namespace millrace::actors::load::postgres {

/// What the receive function of a column's type reads (PostgreSQL's src/backend/utils/adt, *_recv).
enum class binary_form : std::uint8_t {
  none, ///< we know of none: such a column is written as text, and its table with it
  boolean,
  int2,
  int4,
  int8,
  float4,
  float8,
  text, ///< the text's own bytes: text, varchar, char(n), json, enums
  jsonb,
  bytea,
  numeric,
  date,
  timestamp,
  timestamptz,
  uuid,
};
/// `base`: oid of the type under all domains, whose format a domain shares. Modifiers are the receive function's to apply.
binary_form binary_form_of(std::uint32_t base, bool is_enum) noexcept;

/// Not thread safe. header(); for each row begin_row() and as many cells; trailer().
class copy_binary : public copy_buffer {
public:
  void header();
  void trailer();
  void begin_row(std::size_t fields);
  void null();
  /// The value that the server would read from what copy_text writes for the cell; a missing cell is NULL. False: the cell has no
  /// such value, or stands in a form whose reading is the server's own (a date before our era, a zone's name, " 7"). The row is
  /// then cut short: what stands in the buffer is to be thrown away.
  [[nodiscard]] bool cell(const transform::cell& c, binary_form form, boolean_text b);

private:
  template <class Int>
  void field(Int v);
  bool read(std::string_view text, binary_form form);
  bool integer(std::string_view text, binary_form form);
  bool integer(std::int64_t v, binary_form form);
  template <class Float>
  bool real(std::string_view text);
  void bytes(std::string_view v);
  bool numeric(std::string_view text);
  void numeric(std::string_view whole, std::string_view fraction, bool negative);
  bool uuid(std::string_view text);
};

} // namespace millrace::actors::load::postgres
