#pragma once
// A block of changes as a batch, without a log: what `dry-run` gives to the transformer.

#include "storage/batch.hpp"

namespace millrace::runtime::cli {

class block_batch final : public storage::batch {
public:
  block_batch(storage::change_block block, storage::offset base) : block_(std::move(block)), base_(base), time_(storage::now()) {}
  storage::batch_kind kind() const noexcept override { return storage::batch_kind::changes; }
  storage::offset base() const noexcept override { return base_; }
  std::uint32_t count() const noexcept override { return static_cast<std::uint32_t>(block_.starts.size()); }
  storage::epoch epoch() const noexcept override { return {1}; }
  storage::timestamp first_time() const noexcept override { return time_; }
  storage::timestamp last_time() const noexcept override { return time_; }
  std::uint64_t changes_before() const noexcept override { return base_.value; }
  std::size_t bytes() const noexcept override { return block_.payloads.size(); }
  std::string_view payloads() const noexcept override { return block_.payloads; }
  std::string_view payload(std::uint32_t i) const noexcept override {
    return std::string_view(block_.payloads).substr(block_.starts[i], block_.lengths[i]);
  }
  storage::payload_format format() const noexcept override { return block_.format; }
  storage::envelope envelope() const noexcept override { return block_.envelope; }
  std::string_view origin() const noexcept override { return block_.origin; }
  std::string_view context() const noexcept override { return block_.context; }
  std::string source_position(std::uint32_t i) const override {
    return block_.origin + ":" + std::to_string(block_.origin_position + block_.starts[i]);
  }
  const storage::control_entry& control() const noexcept override { return control_; }

private:
  storage::change_block block_;
  storage::offset base_;
  storage::timestamp time_;
  storage::control_entry control_;
};

} // namespace millrace::runtime::cli
