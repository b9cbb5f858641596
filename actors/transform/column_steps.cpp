// rename, drop, mask: whole columns, on every kind of row (a delete's key must follow its row's).
#include "actors/transform/step.hpp"

#include <algorithm>
#include <openssl/sha.h>

namespace millrace::actors::transform {

namespace {
/// Every slot that still matters: rows and the rows before updates.
template <class Visit>
void for_each_row(frame& f, Visit&& visit) {
  for (auto* rows : {&f.rows, &f.shadows})
    for (frame_row& r : *rows)
      if (r.live) visit(r);
}

class rename_step final : public step {
public:
  rename_step(std::vector<std::pair<std::string, std::string>> names, std::string name)
      : names_(std::move(names)), name_(std::move(name)) {}

  void run(frame& f, run_state& state) override {
    std::vector<int> from; // resolved before any is renamed, so that two names can be swapped
    for (const auto& [old_name, new_name] : names_) from.push_back(f.find(old_name));
    for (const int column : from)
      if (column >= 0) f.columns[static_cast<std::size_t>(column)].dropped = true; // out of the way of find()
    for (std::size_t i = 0; i < names_.size(); ++i) {
      if (from[i] < 0) continue;
      frame_column& column = f.columns[static_cast<std::size_t>(from[i])];
      const int taken = f.find(names_[i].second);
      column.dropped = false;
      column.name = names_[i].second;
      if (taken >= 0) merge(f, state, static_cast<std::uint32_t>(from[i]), static_cast<std::uint32_t>(taken), names_[i]);
    }
  }

private:
  /// Some changes came with the old name and some with the new one: one column takes both, unless one change has both.
  void merge(frame& f, run_state& state, std::uint32_t from, std::uint32_t to, const std::pair<std::string, std::string>& names) {
    for_each_row(f, [&](frame_row& r) {
      cell& a = f.at(r.slot, from);
      cell& b = f.at(r.slot, to);
      if (a.is_null()) return;
      if (!b.is_null())
        return state.fail(f, r, "transform",
                          "found both \"" + names.first + "\" and \"" + names.second + "\", expected one of them", name_,
                          names.second);
      b = a;
    });
    f.columns[from].dropped = true;
    std::replace(f.key.begin(), f.key.end(), static_cast<int>(from), static_cast<int>(to));
  }
  std::vector<std::pair<std::string, std::string>> names_;
  std::string name_;
};

class drop_step final : public step {
public:
  explicit drop_step(std::vector<std::string> names) : names_(std::move(names)) {}
  void run(frame& f, run_state&) override {
    for (const std::string& name : names_)
      if (const int column = f.find(name); column >= 0) f.columns[static_cast<std::size_t>(column)].dropped = true;
  }

private:
  std::vector<std::string> names_;
};

enum class mask_method : std::uint8_t { sha256, null, redact };

std::optional<mask_method> method_of(std::string_view name) {
  if (name == "sha256") return mask_method::sha256;
  if (name == "null") return mask_method::null;
  if (name == "redact") return mask_method::redact;
  return std::nullopt;
}

class mask_step final : public step {
public:
  explicit mask_step(std::vector<std::pair<std::string, mask_method>> columns) : columns_(std::move(columns)) {}
  void run(frame& f, run_state& state) override {
    for (const auto& [name, method] : columns_) {
      const int index = f.find(name);
      if (index < 0) continue;
      f.columns[static_cast<std::size_t>(index)].assigned = true;
      for_each_row(f, [&, method = method](frame_row& r) {
        mask(f.at(r.slot, static_cast<std::uint32_t>(index)), method, state.memory());
      });
    }
  }

private:
  static void mask(cell& c, mask_method method, arena& memory) {
    if (c.k == cell::kind::null || c.k == cell::kind::missing) return; // nothing to hide; NULL stays recognisable
    switch (method) {
    case mask_method::null:
      c = cell::null();
      break;
    case mask_method::redact:
      c = cell::text("***");
      break;
    case mask_method::sha256: {
      char buffer[32];
      const std::string_view text = text_form(c, buffer);
      unsigned char digest[SHA256_DIGEST_LENGTH];
      SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
      char* hex = memory.allocate(2 * sizeof digest);
      for (std::size_t i = 0; i < sizeof digest; ++i) {
        hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
      }
      c = cell::text({hex, 2 * sizeof digest});
      break;
    }
    }
    c.note = note::assigned;
  }
  std::vector<std::pair<std::string, mask_method>> columns_;
};

std::string known_names(const shape& s) {
  std::string out;
  for (const known_column& c : s.columns) out += (out.empty() ? "" : ", ") + c.name;
  return out.empty() ? "no column" : out;
}
} // namespace

std::string unknown_value(std::string_view column) {
  return "the value of column \"" + std::string(column) +
         "\" is not known: the source sends a large value (TOAST) only when it changes; expected REPLICA IDENTITY FULL on the "
         "source's table, or a step that does not read the column";
}

const known_column* shape::find(std::string_view name) const {
  const auto it = std::find_if(columns.begin(), columns.end(), [&](const known_column& c) { return c.name == name; });
  return it == columns.end() ? nullptr : &*it;
}

step_ptr make_rename(step_compiler& c, const transform_step& s, std::string name) {
  bool good = true;
  shape after = c.columns;
  for (const auto& [old_name, new_name] : s.assignments) {
    if (new_name.empty()) {
      c.error(s, "rename " + old_name + ": found no new name");
      good = false;
    }
    if (!c.columns.find(old_name)) {
      if (c.columns.open) continue;
      c.error(s, "rename: found the column \"" + old_name + "\", expected one of: " + known_names(c.columns));
      good = false;
    }
  }
  for (known_column& column : after.columns)
    for (const auto& [old_name, new_name] : s.assignments)
      if (column.name == old_name) {
        column.name = new_name;
        break;
      }
  for (const auto& [old_name, new_name] : s.assignments) {
    const auto uses = std::count_if(after.columns.begin(), after.columns.end(),
                                    [&, n = new_name](const known_column& k) { return k.name == n; });
    const auto wanted =
        std::count_if(s.assignments.begin(), s.assignments.end(), [&, n = new_name](const auto& a) { return a.second == n; });
    if ((uses > 1 && !c.columns.open) || wanted > 1) {
      c.error(s, "rename " + old_name + ": there is already a column \"" + new_name + "\"");
      good = false;
    }
    if (uses == 0) after.columns.push_back({new_name, nullptr}); // open: it may come under its old name
  }
  c.columns = std::move(after);
  if (!good) return nullptr;
  return std::make_unique<rename_step>(s.assignments, std::move(name));
}

step_ptr make_drop(step_compiler& c, const transform_step& s, std::string) {
  bool good = true;
  for (const std::string& column : s.columns) {
    if (!c.columns.find(column) && !c.columns.open) {
      c.error(s, "drop: found the column \"" + column + "\", expected one of: " + known_names(c.columns));
      good = false;
    }
  }
  for (const std::string& column : s.columns)
    std::erase_if(c.columns.columns, [&](const known_column& k) { return k.name == column; });
  if (!good) return nullptr;
  return std::make_unique<drop_step>(s.columns);
}

step_ptr make_mask(step_compiler& c, const transform_step& s, std::string) {
  bool good = true;
  std::vector<std::pair<std::string, mask_method>> columns;
  for (const auto& [column, method] : s.assignments) {
    const auto how = method_of(method);
    const known_column* known = c.columns.find(column);
    const auto refuse = [&](const std::string& message) {
      c.error(s, "mask " + column + ": " + message);
      good = false;
    };
    if (!how) {
      refuse("found the method \"" + method + "\", expected sha256, redact or null");
      continue;
    }
    if (!known && !c.columns.open) refuse("there is no such column, expected one of: " + known_names(c.columns));
    if (known && known->field) {
      const bool takes_text = known->field->type == data_type::text;
      if (*how != mask_method::null && !takes_text)
        refuse(method + " gives text, the schema declares " + to_string(known->field->type) + ": declare it as text");
      if (*how == mask_method::null && known->field->required) refuse("the schema requires a value");
    }
    columns.emplace_back(column, *how);
  }
  if (!good) return nullptr;
  return std::make_unique<mask_step>(std::move(columns));
}

} // namespace millrace::actors::transform
