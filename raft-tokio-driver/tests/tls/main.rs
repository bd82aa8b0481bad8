//! TLS between servers: accepted, refused in every way that we know of, and renewed while it runs.

#![cfg(feature = "tls")]

mod certs;
mod docs;
mod links;
mod loading;
mod peers;
mod refusals;
mod reloads;
