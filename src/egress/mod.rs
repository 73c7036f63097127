//! The gateway: DNS and TCP sockets of one sandbox, served by the host.
