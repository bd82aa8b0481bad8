//! Nodes on disks and a network in memory.

mod changes;
mod cluster;
mod commands;
mod failures;
mod full_disk;
mod paging;
mod reads;
mod snapshots;
mod transfer;
