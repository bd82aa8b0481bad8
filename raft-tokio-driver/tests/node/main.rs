//! Nodes on tokio, in memory: everything a caller can do to them, at the worst of times.

mod cluster;
mod commands;
mod endings;
mod files;
mod hostile;
mod inside;
mod ports;
mod starts;
mod typed;
