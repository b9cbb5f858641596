#include "runtime/http/http_service.hpp"

#include "runtime/config/document_reader.hpp"

#include <charconv>
#include <cstring>
#include <strings.h>

namespace millrace::runtime::http {
namespace {

const char* status_text(int status) {
  switch (status) {
  case 200:
    return "OK";
  case 307:
    return "Temporary Redirect";
  case 400:
    return "Bad Request";
  case 401:
    return "Unauthorized";
  case 403:
    return "Forbidden";
  case 404:
    return "Not Found";
  case 405:
    return "Method Not Allowed";
  case 408:
    return "Request Timeout";
  case 409:
    return "Conflict";
  case 413:
    return "Content Too Large";
  case 415:
    return "Unsupported Media Type";
  case 429:
    return "Too Many Requests";
  case 500:
    return "Internal Server Error";
  case 503:
    return "Service Unavailable";
  default:
    return "Unknown";
  }
}

/// The codes of the admin RPC, where they fit.
const char* code_of(int status) {
  switch (status) {
  case 307:
    return "elsewhere";
  case 400:
    return "invalid";
  case 401:
    return "unauthorized";
  case 403:
    return "forbidden";
  case 404:
    return "not_found";
  case 405:
    return "method_not_allowed";
  case 408:
    return "timeout";
  case 409:
    return "conflict";
  case 413:
    return "too_large";
  case 415:
    return "unsupported";
  case 429:
    return "too_many";
  case 503:
    return "unavailable";
  default:
    return "internal";
  }
}

std::string dump(const nlohmann::ordered_json& j) {
  return j.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

kj::Duration duration(std::chrono::milliseconds ms) { return static_cast<std::int64_t>(ms.count()) * kj::MILLISECONDS; }

/// The NAME of /v1/pipelines/NAME/changes.
std::string_view pipeline_of(std::string_view path) {
  constexpr std::string_view before = "/v1/pipelines/", after = "/changes";
  if (path.size() <= before.size() + after.size() || !path.starts_with(before) || !path.ends_with(after)) return {};
  auto name = path.substr(before.size(), path.size() - before.size() - after.size());
  return config::is_name(name) ? name : std::string_view{};
}

/// "Bearer TOKEN", the scheme in any case. False if there is no such header.
bool bearer_of(kj::StringPtr header, std::string& token) {
  std::string_view text(header.begin(), header.size());
  constexpr std::string_view scheme = "bearer ";
  if (text.size() < scheme.size()) return false;
  for (std::size_t i = 0; i < scheme.size(); ++i)
    if ((text[i] | 0x20) != scheme[i] && text[i] != scheme[i]) return false;
  text.remove_prefix(scheme.size());
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  token = text;
  return true;
}

} // namespace

header_names::header_names() {
  kj::HttpHeaderTable::Builder builder;
  producer = builder.add("Producer-Id");
  sequence = builder.add("Sequence");
  authorization = builder.add("Authorization");
  retry_after = builder.add("Retry-After");
  allow = builder.add("Allow");
  authenticate = builder.add("WWW-Authenticate");
  content_encoding = builder.add("Content-Encoding");
  location = builder.add("Location");
  expect = builder.add("Expect");
  table = builder.build();
}

/// One request body on its way into memory; gives its bytes back to the common budget when it goes.
struct http_service::upload {
  upload(http_service& s, kj::AsyncInputStream& b) : service(s), stream(b), started(s.timer_.now()) {}
  ~upload() { service.bodies_bytes_ -= body.size() + handed_over; }
  upload(const upload&) = delete;
  http_service& service;
  kj::AsyncInputStream& stream;
  kj::TimePoint started;
  actors::push_request request;
  std::string body;
  std::size_t handed_over = 0; ///< the node holds them until it answers
  kj::byte buffer[64 << 10];
};

http_service::answer http_service::failure(int status, std::string message, int retry_after_seconds) {
  answer out;
  out.status = status;
  out.body = dump({{"error", {{"code", code_of(status)}, {"message", std::move(message)}, {"detail", ""}}}});
  out.retry_after_seconds = retry_after_seconds;
  out.authenticate = status == 401;
  return out;
}

http_service::answer http_service::refusal(const std::string& pipeline, const actors::push_reply& why) {
  auto out = failure(why.status, why.message, why.retry_after_seconds);
  if (!why.location.empty()) out.location = why.location + "/v1/pipelines/" + pipeline + "/changes";
  return out;
}

kj::Promise<void> http_service::send(const char* route, bool head_only, answer what, Response& response) {
  ++counts_[{route, what.status}];
  kj::HttpHeaders headers(*names_.table);
  headers.set(kj::HttpHeaderId::CONTENT_TYPE, kj::str(what.content_type.c_str()));
  if (what.retry_after_seconds > 0) headers.set(names_.retry_after, kj::str(what.retry_after_seconds));
  if (what.allow) headers.set(names_.allow, what.allow);
  if (!what.location.empty()) headers.set(names_.location, kj::str(what.location.c_str()));
  if (what.authenticate) headers.set(names_.authenticate, "Bearer");
  auto body = kj::heap<std::string>(std::move(what.body));
  auto stream = response.send(static_cast<kj::uint>(what.status), status_text(what.status), headers, body->size());
  if (head_only || body->empty()) return kj::READY_NOW;
  auto& out = *stream;
  auto& text = *body;
  // A reader that takes nothing holds our answer only so long.
  return timer_.timeoutAfter(duration(options_.write_timeout), out.write(text.data(), text.size()))
      .attach(kj::mv(stream), kj::mv(body));
}

kj::Promise<void> http_service::request(kj::HttpMethod method, kj::StringPtr url, const kj::HttpHeaders& headers,
                                        kj::AsyncInputStream& body, Response& response, kj::AsyncOutputStream& connection) {
  std::string_view path(url.begin(), url.size());
  path = path.substr(0, path.find('?'));
  bool reading = method == kj::HttpMethod::GET || method == kj::HttpMethod::HEAD, head = method == kj::HttpMethod::HEAD;
  auto respond = [&](const char* route, kj::Promise<answer> what) {
    return what.then([this, route, head, &response](answer a) { return send(route, head, std::move(a), response); });
  };
  auto wrong_method = [&](const char* route, const char* allow) {
    auto a = failure(405, std::string("this path takes ") + allow + " only");
    a.allow = allow;
    return send(route, head, std::move(a), response);
  };
  struct route {
    const char* path;
    kj::Promise<answer> (http_service::*take)();
  };
  for (const auto& r : {route{"/metrics", &http_service::metrics}, route{"/healthz", &http_service::health},
                        route{"/readyz", &http_service::readiness}})
    if (path == r.path) return reading ? respond(r.path, (this->*r.take)()) : wrong_method(r.path, "GET, HEAD");
  if (auto name = pipeline_of(path); !name.empty()) {
    constexpr const char* push_route = "/v1/pipelines/NAME/changes";
    if (method != kj::HttpMethod::POST) return wrong_method(push_route, "POST");
    return respond(push_route, take_push(std::string(name), headers, body, connection));
  }
  return send("other", head, failure(404, "no such path; expected /metrics, /healthz, /readyz or /v1/pipelines/NAME/changes"),
              response);
}

kj::Promise<http_service::answer> http_service::metrics() {
  actors::admin_call call;
  call.what = actors::admin_call::method::metrics;
  return timer_.timeoutAfter(duration(options_.health_timeout) * 2, ask(node_, std::move(call)))
      .then([this](actors::admin_reply reply) {
        if (!reply.ok) return failure(503, reply.message);
        answer out;
        out.content_type = metrics_content_type;
        out.body = metrics_text(reply.document, counts_, connections_);
        return out;
      })
      .catch_([](kj::Exception&& e) { return failure(503, "no metrics: " + text_of(e)); });
}

kj::Promise<http_service::answer> http_service::health() {
  if (node_.storage_failed()) return failure(503, "the node's storage has failed");
  actors::admin_call call;
  call.what = actors::admin_call::method::list;
  call.local = true; // another node's silence is not this one's illness
  return timer_.timeoutAfter(duration(options_.health_timeout), ask(node_, std::move(call)))
      .then([](actors::admin_reply reply) {
        if (!reply.ok) return failure(503, reply.message);
        answer out;
        out.body = dump({{"status", "ok"}});
        return out;
      })
      .catch_([this](kj::Exception&&) {
        return failure(503, "the node did not answer within " + std::to_string(options_.health_timeout.count()) + " ms");
      });
}

kj::Promise<http_service::answer> http_service::readiness() {
  actors::admin_call call;
  call.what = actors::admin_call::method::ready;
  return timer_.timeoutAfter(duration(options_.health_timeout), ask(node_, std::move(call)))
      .then([](actors::admin_reply reply) {
        if (!reply.ok) return failure(503, reply.message);
        answer out;
        auto document = nlohmann::ordered_json::parse(reply.document, nullptr, false);
        if (document.is_discarded() || !document.is_object() || !document.value("ready", false)) out.status = 503;
        out.body = reply.document + "\n";
        return out;
      })
      .catch_([this](kj::Exception&&) {
        return failure(503, "the node did not answer within " + std::to_string(options_.health_timeout.count()) + " ms");
      });
}

kj::Promise<kj::Maybe<http_service::answer>> http_service::read_body(upload& u) {
  auto earned = static_cast<std::int64_t>(u.body.size() * 1000 / std::max<std::uint64_t>(1, options_.body_rate_min));
  auto deadline = u.started + duration(options_.body_grace) + earned * kj::MILLISECONDS;
  return timer_.timeoutAt(deadline, u.stream.tryRead(u.buffer, 1, sizeof u.buffer))
      .then(
          [this, &u](std::size_t n) -> kj::Promise<kj::Maybe<answer>> {
            if (n == 0) return kj::Maybe<answer>(nullptr);
            if (u.body.size() + n > options_.body_bytes_max)
              return kj::Maybe<answer>(failure(413, "the body is longer than limits.body, " +
                                                        std::to_string(options_.body_bytes_max) +
                                                        " bytes; expected a shorter one"));
            if (bodies_bytes_ + n > options_.bodies_bytes_max)
              return kj::Maybe<answer>(
                  failure(429, "the bodies of all clients together fill the memory set aside for them; try again", 1));
            u.body.append(reinterpret_cast<const char*>(u.buffer), n);
            bodies_bytes_ += n;
            return read_body(u);
          },
          [this](kj::Exception&& e) -> kj::Promise<kj::Maybe<answer>> {
            if (e.getType() != kj::Exception::Type::OVERLOADED) return kj::mv(e); // the client went away
            return kj::Maybe<answer>(failure(408, "the body came too slowly; expected " + std::to_string(options_.body_rate_min) +
                                                      " bytes a second or more"));
          });
}

/// curl and others ask before they send a large body, and wait a second for a word; KJ's server knows nothing of it. Between two
/// answers nobody else writes to the connection.
kj::Promise<void> http_service::ask_for_body(const kj::HttpHeaders& headers, kj::AsyncOutputStream& connection) {
  constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
  KJ_IF_MAYBE (value, headers.get(names_.expect))
    if (strcasecmp(value->cStr(), "100-continue") == 0)
      return timer_.timeoutAfter(duration(options_.write_timeout), connection.write(go_on.data(), go_on.size()));
  return kj::READY_NOW;
}

kj::Promise<http_service::answer> http_service::take_push(std::string pipeline, const kj::HttpHeaders& headers,
                                                          kj::AsyncInputStream& body, kj::AsyncOutputStream& connection) {
  actors::push_request head;
  head.pipeline = std::move(pipeline);
  KJ_IF_MAYBE (value, headers.get(names_.authorization)) head.has_token = bearer_of(*value, head.token);
  bool has_producer = false;
  KJ_IF_MAYBE (value, headers.get(names_.producer)) {
    has_producer = true;
    head.producer = value->cStr();
    if (head.producer.empty() || head.producer.size() > 256)
      return failure(400, "Producer-Id has " + std::to_string(head.producer.size()) + " bytes; expected 1 to 256");
  }
  KJ_IF_MAYBE (value, headers.get(names_.sequence)) {
    head.has_sequence = true;
    auto [end, error] = std::from_chars(value->begin(), value->end(), head.sequence);
    if (error != std::errc{} || end != value->end())
      return failure(400, "Sequence is '" + std::string(value->cStr()).substr(0, 40) +
                              "'; expected a whole number from 0 to 18446744073709551615");
  }
  if (has_producer != head.has_sequence)
    return failure(400, std::string(has_producer ? "Producer-Id without Sequence" : "Sequence without Producer-Id") +
                            "; expected both headers or neither");
  KJ_IF_MAYBE (value, headers.get(names_.content_encoding))
    if (*value != "identity")
      return failure(415, "Content-Encoding is '" + std::string(value->cStr()).substr(0, 40) + "'; expected the body as it is");

  std::uint64_t announced = 0; // a chunked body does not say; it is bounded as it comes
  KJ_IF_MAYBE (length, body.tryGetLength()) announced = *length;
  // The node first: who may not push need not learn our limits.
  if (auto verdict = node_.may_push(head, announced); verdict.status != 0 && verdict.status != 200)
    return refusal(head.pipeline, verdict);
  if (announced > options_.body_bytes_max)
    return failure(413, "the body has " + std::to_string(announced) + " bytes; expected at most limits.body, " +
                            std::to_string(options_.body_bytes_max));
  if (bodies_bytes_ + announced > options_.bodies_bytes_max)
    return failure(429, "the bodies of all clients together fill the memory set aside for them; try again", 1);

  auto u = kj::heap<upload>(*this, body);
  u->request = std::move(head);
  if (announced > 0) u->body.reserve(announced);
  auto& ref = *u;
  return ask_for_body(headers, connection)
      .then([this, &ref] { return read_body(ref); })
      .then([this, &ref](kj::Maybe<answer> refused) -> kj::Promise<answer> {
        KJ_IF_MAYBE (r, refused) return kj::mv(*r);
        ref.handed_over = ref.body.size();
        ref.request.body = std::move(ref.body);
        ref.body.clear();
        auto pipeline = ref.request.pipeline;
        return push(node_, std::move(ref.request)).then([pipeline](const actors::push_reply& reply) {
          if (reply.status != 200) return refusal(pipeline, reply);
          answer out;
          out.body = dump({{"accepted", reply.accepted}});
          return out;
        });
      })
      .attach(kj::mv(u));
}

} // namespace millrace::runtime::http
