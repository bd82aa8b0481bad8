//! The TCP transport with TLS, between servers that know each other, and some that do not.

#![cfg(feature = "tls")]
// It takes a part only of what the tests of TCP and of TLS share.
#![allow(dead_code)]

#[path = "../tls/certs.rs"]
mod certs;
mod driver;
mod guards;
#[path = "../../../raft-std-driver/tests/tcp/support.rs"]
mod support;
