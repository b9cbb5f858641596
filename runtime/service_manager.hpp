#pragma once
// Words to systemd (sd_notify's protocol: one datagram to $NOTIFY_SOCKET), without its library. Nothing happens elsewhere.

namespace millrace::runtime::service_manager {

void ready();
void stopping();

} // namespace millrace::runtime::service_manager
