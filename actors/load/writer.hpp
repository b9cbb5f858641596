#pragma once
#include "actors/load/destination.hpp"
#include "actors/load/held_keys.hpp"
#include "actors/load/worker.hpp"

#include <deque>
#include <map>

namespace millrace::actors::load {

/// WRITER of one load: puts items back in order and applies them; rows and the next offset in one transaction.
///
///   claim ──> running: begin, apply items in order ──> (bad changes: quarantine in the log, acknowledged) ──> commit ──> running
///     ^                                                                                                          │
///     └──────── any error of the destination: roll back, wait, claim again; the destination's row tells where ───┘
///
/// A claim starts a new generation: the dispatcher reads again from the claimed offset, and what was in flight is void. So
/// every failure, restart and rewind has one way back. A source's transaction is never committed in part: inside of one that is
/// larger than our transactions, the destination's stays open, what was applied is given back to the dispatcher, and quarantine
/// decisions are logged before the end. A commit's size is bounded by load_window_bytes; it comes when nothing
/// more is there for a few milliseconds, so that a slow flow has low latency and a fast one large transactions.
struct writer_state : row_gate {
  explicit writer_state(writer_actor::stateful_pointer<writer_state> self) : self(self) {}
  static constexpr const char* name = "writer";

  writer_actor::stateful_pointer<writer_state> self;
  pipeline_context_ptr ctx;
  std::shared_ptr<const load_spec> load;
  pipeline_actor supervisor;
  stage_actor stage;
  dispatcher_actor dispatcher;
  std::unique_ptr<destination> target;
  std::unique_ptr<transform::transformer> redriver; ///< made when first needed

  enum class phase_kind { unclaimed, running, quarantining, rewinding, drained };
  phase_kind phase = phase_kind::unclaimed;
  std::uint64_t generation = 0;    ///< also names timers: one of another generation is void
  std::uint64_t next_sequence = 0; ///< the item to apply next
  std::map<std::uint64_t, load_item> arrived;
  std::uint64_t arrived_changes = 0;

  // What the destination has.
  progress committed;
  std::uint64_t dead_below = 0; ///< open and discarded letters below committed.next
  storage::timestamp applied_time;
  std::map<std::uint64_t, std::pair<std::uint64_t, std::uint64_t>>
      decided; ///< offsets >= the claim that quarantine entries name: key hashes

  // The open transaction.
  bool open = false;
  storage::offset position; ///< end of what was applied
  bool inside = false;      ///< of a source transaction that goes on: nothing may be committed here
  std::uint64_t transaction_changes = 0, transaction_dead = 0;
  std::size_t transaction_bytes = 0;
  std::chrono::steady_clock::time_point opened_at{};
  storage::timestamp position_time;
  held_keys held;
  std::vector<std::uint64_t> filtered; ///< offsets, rising
  std::vector<storage::dead_letter> letters;
  std::size_t letter_bytes = 0;
  std::vector<std::pair<std::uint64_t, std::uint64_t>>
      passed_keys;                         ///< on_error continue: (key hash, offset) delivered while watched
  bool prepared = false;                   ///< the transaction passes a redrive or discard entry
  std::optional<control_request> outcomes; ///< what that entry does to dead letters: into the log before the commit
  std::uint64_t redriven_filtered = 0;
  std::int64_t redriven_dead = 0;
  bool isolating = false; ///< a commit was refused by a deferred constraint: the next transactions check change by change
  std::string halted;     ///< on_error halt: why; set once the transaction before it is to be committed and the load to stop

  std::string waiting;
  std::chrono::milliseconds backoff{0};
  caf::typed_response_promise<simple_reply> rewind_promise, drain_promise;
  rewind_request rewinding;
  std::chrono::steady_clock::time_point reported_at{};
  std::chrono::steady_clock::time_point remember_at{};
  double commit_seconds = 0;
  bool pumping = false, lingering = false, remembered = false;

  void claim();
  void pump();
  void retry(std::uint64_t timer);
  void wake();

  // row_gate
  bool admit(const transform::row_set& set, const transform::row& first) override;
  bool rejected(const transform::row_set& set, const transform::row& first, row_error why) override;

  // returns false if the state machine left `running`
  bool apply(const load_item& item);
  bool apply_rows(const load_item& item);
  bool apply_control(const load_item& item);
  bool redrive(const storage::batch& entry, bool discard);
  bool begin();
  void commit();
  bool flush();
  void decide_outcomes();
  void finish_commit();
  void isolate();
  void fail(const failure& why);
  void wait(const std::string& why);
  result<bool> delivered_before() const;
  void remember_delivery();
  void reset_transaction();
  void quarantine(storage::dead_letter letter);
  void tell_alerts(const std::vector<storage::dead_letter>& fresh);
  void start_rewind();
  void report(bool force = false);
  bool hold() const { return load->hold_later_changes && load->on_error == error_action::quarantine; }
  std::string who() const { return ctx->component("writer", load->name); }
};

writer_actor::behavior_type writer(writer_actor::stateful_pointer<writer_state> self, pipeline_context_ptr ctx,
                                   std::shared_ptr<const load_spec> load, pipeline_actor supervisor, stage_actor stage);

} // namespace millrace::actors::load
