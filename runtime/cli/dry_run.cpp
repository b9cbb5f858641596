#include "actors/dead_letter/letter_json.hpp"
#include "actors/ingest/source_reader.hpp"
#include "actors/transform/transformer.hpp"
#include "runtime/cli/block_batch.hpp"
#include "runtime/cli/command.hpp"
#include "runtime/config/spec_parser.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

namespace millrace::runtime::cli {
namespace {

using actors::dead_letter::bytes_json;
using actors::transform::cell;
using actors::transform::row_set;

std::string base64_text(std::string_view bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  out.resize(static_cast<std::size_t>(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                                      reinterpret_cast<const unsigned char*>(bytes.data()),
                                                      static_cast<int>(bytes.size()))));
  return out;
}

json value_of(const cell& c) {
  switch (c.k) {
  case cell::kind::boolean:
    return c.i != 0;
  case cell::kind::int64:
    return c.i;
  case cell::kind::float64:
    return std::isfinite(c.d) ? json(c.d) : json(std::isnan(c.d) ? "NaN" : c.d > 0 ? "Infinity" : "-Infinity");
  case cell::kind::text:
    return bytes_json(c.view());
  case cell::kind::blob:
    return base64_text(c.view());
  default:
    return nullptr;
  }
}

struct totals {
  std::uint64_t changes = 0, rows = 0, filtered = 0, dead_letters = 0;
};

class printer {
public:
  printer(const command_context& context, const actors::pipeline_spec& spec, bool several)
      : context_(context), spec_(spec), several_(several) {}

  void print(const actors::load_spec& load, const row_set& set, totals& sums) {
    // Rows and failures come apart, each in the order of changes: print them as one.
    std::size_t failed = 0;
    for (const auto& row : set.rows) {
      while (failed < set.failures.size() && set.failures[failed].change < row.change)
        print_failure(load, set, set.failures[failed++]);
      print_row(load, set, row);
    }
    while (failed < set.failures.size()) print_failure(load, set, set.failures[failed++]);
    sums.rows += set.rows.size();
    sums.filtered += set.filtered.size();
    sums.dead_letters += set.failures.size();
  }

private:
  void print_row(const actors::load_spec& load, const row_set& set, const actors::transform::row& row) {
    json out = json::object();
    const auto& layout = set.layout_of(row);
    const auto& table = load.tables[layout.table];
    // A plain row is its columns and nothing else; what is not plain says so in keys that no column begins with.
    if (several_) out["_load"] = load.name;
    if (several_ || load.tables.size() > 1) out["_table"] = table.to;
    if (row.op == storage::operation::remove || row.op == storage::operation::truncate) out["_op"] = storage::to_string(row.op);
    const auto* cells = set.cells_of(row);
    for (std::size_t i = 0; i < layout.columns.size() && row.op != storage::operation::truncate; ++i) {
      if (row.op == storage::operation::remove && std::find(layout.key.begin(), layout.key.end(), i) == layout.key.end())
        continue;
      if (cells[i].k == cell::kind::missing) continue;
      out[layout.columns[i].name] = value_of(cells[i]);
    }
    context_.out_line(out);
  }

  void print_failure(const actors::load_spec& load, const row_set& set, const actors::transform::failed_change& f) {
    storage::dead_letter letter;
    letter.offset = {set.batch->base().value + f.change};
    letter.source_position = set.batch->source_position(f.change);
    letter.table = f.table;
    letter.key = f.key;
    letter.op = storage::to_string(f.op);
    letter.payload = set.batch->payload(f.change);
    letter.reason = f.reason;
    letter.message = f.message;
    letter.column = f.column;
    letter.step = f.step;
    letter.first_time = letter.last_time = set.batch->first_time();
    auto out = actors::dead_letter::letter_json(letter, spec_.name, load.name, 0, true);
    // Nothing was stored: it has no name, no node and no state.
    for (auto* key : {"id", "node", "revision", "attempts", "state"}) out.erase(key);
    context_.out_line({{"dead_letter", std::move(out)}});
  }

  const command_context& context_;
  const actors::pipeline_spec& spec_;
  bool several_;
};

storage::change_block first_changes(storage::change_block block, std::uint64_t n) {
  if (block.starts.size() > n) {
    block.starts.resize(n);
    block.lengths.resize(n);
  }
  return block;
}

void run_spec(const command_context& context, const actors::pipeline_spec& spec, const dry_run_options& o) {
  auto source = spec.source;
  if (!o.input.empty()) {
    source.type = "file";
    source.path = std::filesystem::absolute(o.input).lexically_normal().string();
  }
  if (source.type == "postgres")
    throw command_failed{exit_status::usage,
                         "invalid",
                         config::to_text(config::mistake{
                             spec.file, source.where,
                             "a postgres source needs a node: its changes come from a replication slot, which a dry run would "
                             "move; expected `millrace pipeline validate`, or `apply` with a destination to try it in",
                             false}),
                         {}};
  if (source.type != "file")
    throw command_failed{exit_status::failed,
                         "refused",
                         "pipeline " + spec.name + " has a push source, which nothing can be read from; expected --input FILE",
                         {}};
  source.follow = false;
  if (source.path.empty())
    throw command_failed{exit_status::usage,
                         "invalid",
                         config::to_text(config::mistake{
                             spec.file, source.where,
                             "source.path refers to something that is not set here; expected it set, or --input FILE", false}),
                         {}};

  struct load_run {
    const actors::load_spec* load;
    std::unique_ptr<actors::transform::transformer> transformer;
  };
  std::vector<load_run> loads;
  for (const auto& load : spec.loads) {
    if (!o.load.empty() && load.name != o.load) continue;
    actors::transform::transform_limits limits;
    limits.max_record_bytes = source.max_record_bytes;
    std::vector<actors::transform::step_error> errors;
    auto made = actors::transform::transformer::make(load, limits, errors);
    if (!made)
      throw command_failed{exit_status::usage,
                           "invalid",
                           spec.file + ": load " + load.name + ": " +
                               (errors.empty() ? "does not compile" : errors.front().message),
                           {}};
    loads.push_back({&load, std::move(made)});
  }
  if (loads.empty())
    throw command_failed{exit_status::usage, "usage", "pipeline " + spec.name + " has no load '" + o.load + "'", {}};

  auto made = actors::ingest::make_source_reader(source);
  if (!made) throw command_failed{exit_status::failed, "refused", made.error().message, {}};
  auto& reader = *made.value();
  auto fail = [](const actors::failure& f) { return command_failed{exit_status::failed, "unavailable", f.message, {}}; };
  if (auto opened = reader.open({}); !opened) throw fail(opened.error());

  printer out(context, spec, loads.size() > 1);
  std::vector<totals> sums(loads.size());
  std::uint64_t changes = 0;
  while (o.limit == 0 || changes < o.limit) {
    auto polled = reader.poll(std::chrono::milliseconds{100});
    if (!polled) throw fail(polled.error());
    if (!polled.value()) {
      auto status = reader.status();
      if (!status.waiting.empty()) throw command_failed{exit_status::failed, "unavailable", status.waiting, {}};
      if (status.caught_up) break;
      continue;
    }
    auto block = first_changes(std::move(*polled.value()), o.limit ? o.limit - changes : ~0ull);
    auto n = static_cast<std::uint32_t>(block.starts.size());
    if (n == 0) continue;
    storage::batch_ptr batch = std::make_shared<block_batch>(std::move(block), storage::offset{changes});
    changes += n;
    for (std::size_t i = 0; i < loads.size(); ++i) out.print(*loads[i].load, *loads[i].transformer->run(batch, 0, n), sums[i]);
  }
  for (std::size_t i = 0; i < loads.size(); ++i)
    context.note(spec.name + "/" + loads[i].load->name + ": " + grouped(changes) + " changes read, " + grouped(sums[i].rows) +
                 " rows, " + grouped(sums[i].filtered) + " filtered, " + grouped(sums[i].dead_letters) +
                 " dead letters; nothing was written");
}

} // namespace

exit_status dry_run(const command_context& context, const dry_run_options& o) {
  config::spec_options options;
  options.unset_is_warning = true; // a token or an alert's address is of no use here
  auto parsed = config::parse_specs(read_text_file(o.file), o.file, folder_of(o.file), options);
  if (config::has_errors(parsed.mistakes))
    throw command_failed{exit_status::usage, "invalid", config::to_text(parsed.mistakes), {}};
  for (const auto& spec : parsed.specs) run_spec(context, *spec, o);
  return exit_status::done;
}

} // namespace millrace::runtime::cli
