#include "runtime/config/spec_parser.hpp"

#include "runtime/config/load_parser.hpp"
#include "runtime/config/postgres_parser.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace millrace::runtime::config {
namespace {

constexpr std::uint64_t record_bytes_max = 512ull << 20; // a block of changes holds at most 1 GiB

void read_source(document_reader& doc, const yaml_node& n, const std::string& pipeline, std::uint64_t record_bytes,
                 actors::source_spec& out) {
  section s(doc, n, "source");
  out.where = n.at;
  out.max_record_bytes = record_bytes;
  if (!s.ok()) return;
  auto* type = s.need("type", "file, http or postgres");
  if (!type) return;
  if (type->is_scalar() && type->text == "mariadb")
    return doc.wrong(type->at,
                     "source.type " + described(*type) + " is not available in this version; expected file, http or postgres");
  auto chosen = doc.choice(*type, "source.type", {"file", "http", "postgres"});
  if (!chosen) return;
  if (auto* v = s.take("max_record_bytes"))
    if (auto bytes = doc.bytes(*v, "source.max_record_bytes", 1, record_bytes_max)) out.max_record_bytes = *bytes;
  if (*chosen == 2) {
    out.type = "postgres";
    read_postgres_source(doc, s, pipeline, out);
    return s.finish();
  }
  for (auto* key : {"connection", "publication", "slot", "tables", "snapshot", "snapshot_options", "heartbeat"})
    s.refuse(key, "is for a database (type postgres); expected the key left out");
  bool is_file = *chosen == 0;
  out.type = is_file ? "file" : "http";
  bool csv = false;
  if (auto* v = s.take("format"))
    if (auto format = doc.choice(*v, "source.format", {"ndjson", "csv"})) {
      csv = *format == 1;
      if (csv && !is_file) doc.wrong(v->at, "source.format is csv; expected ndjson, which is what a push source takes");
      if (csv) out.format = storage::payload_format::csv;
    }
  if (auto* v = s.take("envelope"))
    if (auto envelope = doc.choice(*v, "source.envelope", {"none", "debezium"})) {
      if (*envelope == 1) out.envelope = storage::envelope::debezium;
      if (*envelope == 1 && csv)
        doc.wrong(v->at, "source.envelope is debezium beside format csv; expected none: an envelope is JSON");
    }
  if (is_file) {
    if (auto* v = s.need("path", "a file or a pattern such as in/*.ndjson"))
      if (auto path = doc.path(*v, "source.path")) out.path = *path;
    if (auto* v = s.take("follow"))
      if (auto follow = doc.boolean(*v, "source.follow")) out.follow = *follow;
    s.refuse("token", "is for a push source (type http); expected the key left out");
  } else {
    if (auto* v = s.take("token"))
      if (auto token = doc.text(*v, "source.token")) {
        out.token = *token;
        // It has to fit into a header line.
        auto bad = std::any_of(token->begin(), token->end(), [](unsigned char c) { return c <= ' ' || c >= 127; });
        if (token->empty() || bad)
          doc.wrong(v->at, "source.token is " + std::string(token->empty() ? "empty" : "no plain word") +
                               "; expected visible ASCII characters without spaces");
      }
    s.refuse("path", "is for a file source (type file); expected the key left out");
    s.refuse("follow", "is for a file source (type file); expected the key left out");
  }
  s.finish();
}

void read_log(document_reader& doc, const yaml_node& n, actors::log_spec& out) {
  section s(doc, n, "log");
  if (!s.ok()) return;
  if (auto* v = s.take("partitions"))
    if (auto count = doc.number(*v, "log.partitions", 1, 4096)) {
      if (*count > 1)
        doc.wrong(v->at,
                  "log.partitions is " + std::to_string(*count) + "; expected 1: sources fill one partition in this version");
    }
  if (auto* v = s.take("replicas"))
    if (auto count = doc.number(*v, "log.replicas", 1, 16)) out.replicas = static_cast<std::uint32_t>(*count);
  if (auto* v = s.take("min_in_sync"))
    if (auto count = doc.number(*v, "log.min_in_sync", 1, 16)) {
      out.min_in_sync = static_cast<std::uint32_t>(*count);
      const auto replicas = out.replicas == 0 ? 3u : out.replicas;
      if (*count > replicas)
        doc.wrong(v->at, "log.min_in_sync is " + std::to_string(*count) + ", log.replicas " + std::to_string(replicas) +
                             "; expected at most as many: there cannot be more copies in sync than there are");
      else if (*count == 1 && replicas > 1 && out.replicas != 0)
        doc.wrong(v->at, "log.min_in_sync is 1, log.replicas " + std::to_string(replicas) +
                             "; expected at least 2: with 1, what was acknowledged by one copy alone is lost with its host");
    }
  if (auto* v = s.take("compression"))
    if (auto codec = doc.choice(*v, "log.compression", {"none", "lz4", "zstd"})) {
      static constexpr std::array codecs{storage::codec::none, storage::codec::lz4, storage::codec::zstd};
      out.compression = codecs[*codec];
    }
  if (auto* v = s.take("retention")) {
    section r(doc, *v, "log.retention");
    if (auto* t = r.take("time"))
      if (auto time = doc.duration(*t, "log.retention.time", std::chrono::seconds{1}))
        out.retention.time = std::chrono::duration_cast<std::chrono::seconds>(*time);
    if (auto* t = r.take("size"))
      if (auto bytes = doc.bytes(*t, "log.retention.size", 1u << 20, 1ull << 60)) out.retention.bytes = *bytes;
    if (auto* t = r.take("force"))
      if (auto force = doc.boolean(*t, "log.retention.force")) out.retention_force = *force;
    if (r.ok()) r.finish();
  }
  s.finish();
}

void read_alerts(document_reader& doc, const yaml_node& n, std::vector<actors::alert_spec>& out) {
  if (!n.is_sequence()) return doc.wrong(n.at, "alerts is " + described(n) + "; expected a list of alerts");
  for (std::size_t i = 0; i < n.items.size(); ++i) {
    auto what = "alerts[" + std::to_string(i) + "]";
    section s(doc, *n.items[i], what);
    if (!s.ok()) continue;
    actors::alert_spec alert;
    auto* type = s.need("type", "webhook, log or alertmanager");
    auto chosen = type ? doc.choice(*type, s.inside("type"), {"webhook", "log", "alertmanager"}) : std::nullopt;
    if (!chosen) continue;
    alert.type = *chosen == 0 ? "webhook" : *chosen == 1 ? "log" : "alertmanager";
    if (*chosen != 1) {
      if (auto* v = s.need("url", "where to post, http:// or https://"))
        if (auto url = doc.text(*v, s.inside("url"))) {
          auto host = url->starts_with("http://")    ? url->substr(7)
                      : url->starts_with("https://") ? url->substr(8)
                                                     : std::string();
          if (host.empty() || host.front() == '/' || url->find_first_of(" \t\r\n") != std::string::npos)
            doc.wrong(v->at, s.inside("url") + " is " + described(*v) + "; expected http://HOST/... or https://HOST/...");
          alert.url = *url;
        }
    } else {
      s.refuse("url", "is for a webhook or alertmanager; expected the key left out");
    }
    if (auto* v = s.take("group_wait"))
      if (auto wait = doc.duration(*v, s.inside("group_wait"), std::chrono::milliseconds{0})) alert.group_wait = *wait;
    if (auto* v = s.take("repeat"))
      if (auto repeat = doc.duration(*v, s.inside("repeat"), std::chrono::milliseconds{0})) alert.repeat = *repeat;
    s.finish();
    out.push_back(std::move(alert));
  }
}

actors::pipeline_spec read_spec(document_reader& doc, const yaml_node& root, std::uint64_t record_bytes, mark& name_at) {
  actors::pipeline_spec spec;
  name_at = root.at;
  section s(doc, root, "");
  if (!s.ok()) return spec;
  if (auto* v = s.need("pipeline", "the pipeline's name"))
    if (auto name = doc.name(*v, "pipeline")) spec.name = *name, name_at = v->at;
  spec.source.max_record_bytes = record_bytes;
  if (auto* v = s.need("source", "a mapping such as { type: file, path: \"in/*.ndjson\" }"))
    read_source(doc, *v, spec.name, record_bytes, spec.source);
  if (auto* v = s.take("log")) read_log(doc, *v, spec.log);
  if (auto* v = s.need("loads", "a list of one load or more")) spec.loads = read_loads(doc, *v, spec.source);
  if (auto* v = s.take("alerts")) read_alerts(doc, *v, spec.alerts);
  s.finish();
  return spec;
}

} // namespace

parsed_specs parse_files(const std::vector<spec_file>& files, const spec_options& options) {
  parsed_specs out;
  std::map<std::string, mistake> names; // where each was defined first
  for (const auto& file : files) {
    std::vector<mistake> syntax;
    auto documents = read_yaml(file.text, file.name, syntax);
    if (documents.empty() && syntax.empty()) syntax.push_back({file.name, {}, "the file is empty; expected a pipeline's spec"});
    bool syntax_failed = !syntax.empty();
    std::vector<mistake> of_file = std::move(syntax);
    for (const auto& document : documents) {
      // An empty document among others: a file that ends with `---`.
      if (document.root->is_null() && documents.size() > 1) continue;
      document_reader doc(file.name, file.base_dir, options.env, options.unset_is_warning);
      mark name_at;
      auto spec = std::make_shared<actors::pipeline_spec>(read_spec(doc, *document.root, options.record_bytes, name_at));
      if (!spec->name.empty()) {
        auto [first, is_new] = names.try_emplace(spec->name, mistake{file.name, name_at, {}});
        if (!is_new)
          doc.wrong(name_at, "pipeline '" + spec->name + "' is defined at " + first->second.file + ":" +
                                 std::to_string(first->second.at.line) + " already; expected each name once");
      }
      spec->text = document.text;
      spec->file = file.name;
      spec->base_dir = file.base_dir;
      bool failed = doc.failed();
      auto found = doc.take_mistakes();
      of_file.insert(of_file.end(), found.begin(), found.end());
      if (!failed && !syntax_failed) out.specs.push_back(std::move(spec));
    }
    std::stable_sort(of_file.begin(), of_file.end(), [](const mistake& a, const mistake& b) {
      return std::pair(a.at.line, a.at.column) < std::pair(b.at.line, b.at.column);
    });
    out.mistakes.insert(out.mistakes.end(), of_file.begin(), of_file.end());
  }
  return out;
}

parsed_specs parse_specs(const std::string& text, const std::string& file, const std::string& base_dir,
                         const spec_options& options) {
  return parse_files({{file, base_dir, text}}, options);
}

actors::spec_parser stored_spec_parser(spec_options options) {
  return [options = std::move(options)](const std::string& text, const std::string& file,
                                        const std::string& base_dir) -> actors::result<actors::pipeline_spec_ptr> {
    auto parsed = parse_specs(text, file, base_dir, options);
    if (has_errors(parsed.mistakes)) return actors::make_failure(actors::errc::invalid, to_text(parsed.mistakes));
    if (parsed.specs.size() != 1)
      return actors::make_failure(actors::errc::invalid,
                                  file + ": " + std::to_string(parsed.specs.size()) + " specs; expected one");
    return parsed.specs.front();
  };
}

} // namespace millrace::runtime::config
