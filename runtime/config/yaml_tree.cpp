#include "runtime/config/yaml_tree.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <sstream>

namespace millrace::runtime::config {
namespace {

constexpr std::size_t file_bytes_max = 4u << 20;
constexpr std::size_t weight_max = 100'000; // a spec has hundreds; a bomb of nested aliases has millions

mark mark_of(const YAML::Mark& m) { return {m.line + 1, m.column + 1}; }

class builder final : public YAML::EventHandler {
public:
  builder(const std::string& file, std::vector<mistake>& mistakes) : file_(file), mistakes_(mistakes) {}

  yaml_ptr root;
  int first_line = 1;
  bool started = false;

  void OnDocumentStart(const YAML::Mark& at) override {
    started = true;
    root.reset();
    stack_.clear();
    anchors_.clear();
    first_line = at.line + 1;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& at, YAML::anchor_t anchor) override {
    auto n = std::make_shared<yaml_node>();
    n->at = mark_of(at);
    done(std::move(n), anchor);
  }
  void OnScalar(const YAML::Mark& at, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override {
    auto n = std::make_shared<yaml_node>();
    n->k = yaml_node::kind::scalar;
    n->at = mark_of(at);
    n->text = value;
    n->quoted = tag == "!" || tag == "tag:yaml.org,2002:str";
    done(std::move(n), anchor);
  }
  void OnAlias(const YAML::Mark& at, YAML::anchor_t anchor) override {
    auto found = anchors_.find(anchor);
    auto n = std::make_shared<yaml_node>();
    if (found != anchors_.end()) {
      *n = *found->second; // its children stay shared; only the place differs
    } else {
      wrong(mark_of(at), "an alias inside of what it names; expected one that was complete before");
    }
    n->at = mark_of(at);
    done(std::move(n), 0);
  }
  void OnSequenceStart(const YAML::Mark& at, const std::string&, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    begin(yaml_node::kind::sequence, at, anchor);
  }
  void OnSequenceEnd() override { end(); }
  void OnMapStart(const YAML::Mark& at, const std::string&, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    begin(yaml_node::kind::mapping, at, anchor);
  }
  void OnMapEnd() override { end(); }

private:
  struct open_node {
    std::shared_ptr<yaml_node> node;
    YAML::anchor_t anchor = 0;
    yaml_ptr key; ///< mapping: the key that waits for its value
  };

  void wrong(mark at, std::string message) { mistakes_.push_back({file_, at, std::move(message)}); }
  void begin(yaml_node::kind k, const YAML::Mark& at, YAML::anchor_t anchor) {
    auto n = std::make_shared<yaml_node>();
    n->k = k;
    n->at = mark_of(at);
    stack_.push_back({std::move(n), anchor, nullptr});
  }
  void end() {
    auto top = std::move(stack_.back());
    stack_.pop_back();
    done(std::move(top.node), top.anchor);
  }
  void done(std::shared_ptr<yaml_node> n, YAML::anchor_t anchor) {
    if (anchor != 0) anchors_[anchor] = n;
    if (stack_.empty()) {
      root = std::move(n);
      return;
    }
    auto& parent = stack_.back();
    if (parent.node->is_mapping() && !parent.key) {
      parent.key = std::move(n);
      return;
    }
    parent.node->weight += n->weight;
    if (parent.node->weight > weight_max)
      throw YAML::ParserException(YAML::Mark::null_mark(),
                                  "aliases expand to more than 100000 values; expected a plain document");
    if (parent.node->is_sequence()) {
      parent.node->items.push_back(std::move(n));
      return;
    }
    add_entry(*parent.node, *std::exchange(parent.key, nullptr), std::move(n));
  }
  void add_entry(yaml_node& map, const yaml_node& key, yaml_ptr value) {
    if (!key.is_scalar()) return wrong(key.at, described(key) + " as a key; expected a name");
    if (key.text == "<<" && !key.quoted)
      return wrong(key.at, "merge key '<<' is not supported; expected the keys written out, or an alias as a value");
    auto same = std::find_if(map.entries.begin(), map.entries.end(), [&](const yaml_entry& e) { return e.key == key.text; });
    if (same != map.entries.end())
      return wrong(key.at, "duplicate key '" + key.text + "'; it is already set in line " + std::to_string(same->at.line));
    map.entries.push_back({key.text, key.at, std::move(value)});
  }

  const std::string& file_;
  std::vector<mistake>& mistakes_;
  std::vector<open_node> stack_;
  std::map<YAML::anchor_t, yaml_ptr> anchors_;
};

/// Where line `line` (from 1) begins.
std::size_t line_start(const std::string& text, int line) {
  std::size_t at = 0;
  for (int i = 1; i < line; ++i) {
    auto end = text.find('\n', at);
    if (end == std::string::npos) return text.size();
    at = end + 1;
  }
  return at;
}

} // namespace

std::string described(const yaml_node& n) {
  switch (n.k) {
  case yaml_node::kind::null:
    return "nothing";
  case yaml_node::kind::sequence:
    return "a list";
  case yaml_node::kind::mapping:
    return "a mapping";
  case yaml_node::kind::scalar:
    break;
  }
  auto text = n.text.substr(0, n.text.find('\n'));
  std::size_t cut = 60;
  if (text.size() > cut) {
    while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
    text = text.substr(0, cut) + "...";
  }
  return "'" + text + "'";
}

std::vector<yaml_document> read_yaml(const std::string& text, const std::string& file, std::vector<mistake>& mistakes) {
  std::vector<yaml_document> out;
  if (text.size() > file_bytes_max) {
    mistakes.push_back({file, {}, "the file has " + std::to_string(text.size()) + " bytes; expected at most 4 MiB"});
    return out;
  }
  std::istringstream in(text);
  builder events(file, mistakes);
  try {
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(events)) {
      if (!events.root) continue;
      out.push_back({events.root, events.first_line, {}});
    }
  } catch (const YAML::Exception& e) {
    mark at;
    if (!e.mark.is_null()) at = mark_of(e.mark);
    mistakes.push_back({file, at, "no valid YAML: " + e.msg});
  } catch (const std::exception& e) {
    mistakes.push_back({file, {}, std::string("no valid YAML: ") + e.what()});
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    auto begin = i == 0 ? 0 : line_start(text, out[i].first_line);
    auto end = i + 1 < out.size() ? line_start(text, out[i + 1].first_line) : text.size();
    out[i].text = text.substr(begin, end - begin);
  }
  return out;
}

} // namespace millrace::runtime::config
