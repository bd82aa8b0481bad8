//! Nodes on disks and a network in memory.

mod changes;
mod cluster;
mod commands;
mod failures;
mod reads;
mod snapshots;
mod transfer;
