#pragma once
// A PostgreSQL database as a source: its logical replication stream, and its tables' rows between the changes.
//
//   walsender ==pgoutput==> replication_stream -> transaction_framer ==blocks==> poll()
//        ^ feedback: what the log holds                  ^ rows of tables that are read whole
//   source --COPY, several connections--> chunk_pool -> snapshot_coordinator

#include "actors/ingest/postgres/relation_routes.hpp"
#include "actors/ingest/postgres/replication_stream.hpp"
#include "actors/ingest/postgres/setup.hpp"
#include "actors/ingest/postgres/snapshot_coordinator.hpp"
#include "actors/ingest/postgres/transaction_framer.hpp"
#include "actors/ingest/source_reader.hpp"

#include <chrono>
#include <memory>
#include <optional>

namespace millrace::actors::ingest::postgres {

/// Owner: the ingest actor's thread; threads of its own only copy rows (chunk_pool).
class postgres_source final : public source_reader {
public:
  explicit postgres_source(postgres_source_spec spec);
  ~postgres_source() override;

  result<void> open(std::span<const storage::state_entry> state) override;
  result<std::optional<storage::change_block>> poll(std::chrono::milliseconds wait) override;
  void idle() override;
  void acknowledged(std::span<const storage::state_entry> state) override;
  source_status status() const override;
  result<void> snapshot(std::string_view table) override;
  result<void> reread(std::string_view table, std::span<const std::string> columns,
                      std::span<const std::vector<std::string>> keys) override;
  result<void> retire() override;
  std::vector<std::string> take_notices() override;

private:
  using clock = std::chrono::steady_clock;
  enum class phase : std::uint8_t { disconnected, creating_slot, streaming, copying_only };

  // Connecting, in postgres_source_connect.cpp.
  result<void> connect();
  result<void> connect_stream(std::vector<source_table> tables);
  result<void> begin_slot();
  result<bool> slot_made(std::chrono::milliseconds wait); ///< false: not yet
  result<void> start_stream();
  failure disconnect(failure why);

  result<void> turn(bool& waiting); ///< one round of poll(); `waiting`: there is nothing to do until something comes
  result<void> drain(bool& dry);
  result<void> received(std::string_view message);
  result<void> row(std::string_view message);
  result<void> truncated(std::string_view message);
  result<void> tend();  ///< what is due by time: feedback, heartbeat, a look at the source's end
  void note_position(); ///< into the log, when there is reason to
  result<void> nudge();
  bool may_cut() const;
  bool behind() const;
  void wait_for_more(clock::time_point until);
  void doze();
  std::optional<storage::change_block> hand_out();
  result<void> feed_back(bool ask);
  void add_state(std::vector<storage::state_entry>& to);
  std::string application_name() const { return "millrace " + spec_.slot; }

  postgres_source_spec spec_;
  phase phase_ = phase::disconnected;
  bool opened_ = false;
  std::optional<source_identity> identity_; ///< none: the log knows no slot yet
  std::unique_ptr<connection> side_;
  std::unique_ptr<replication_stream> stream_;
  std::vector<source_table> tables_;
  server_identity server_;
  transaction_framer framer_;
  std::unique_ptr<snapshot_coordinator> snapshots_;
  std::unique_ptr<relation_routes> routes_;
  row_change change_; ///< its memory is used again
  std::vector<storage::state_entry> pending_state_;
  std::vector<std::string> notices_;
  std::string waiting_;

  lsn reached_;    ///< everything that committed below was received
  lsn confirmed_;  ///< durable in the log
  lsn told_;       ///< the last `confirmed_` that the server was told
  lsn source_end_; ///< where the source's log ended at the last look; 0: not looked yet
  lsn nudged_for_;
  std::uint64_t handed_out_ = 0, acknowledged_ = 0; ///< blocks
  bool placed_last_ = false, heartbeat_works_ = true;
  std::chrono::milliseconds feedback_every_{10000};
  clock::time_point feedback_at_{}, heartbeat_at_{}, look_at_{}, ask_at_{}, noted_at_{}, gathering_since_{};
  std::chrono::microseconds doze_{1000}; ///< while the source is far ahead
  bool gathering_ = false;
  bool note_soon_ = false; ///< somebody waits for the log to have the position
};

} // namespace millrace::actors::ingest::postgres
