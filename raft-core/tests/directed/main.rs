//! The directed tests of the core: a message, a disk or a clock at a time. One program, so that it is linked once.

#[path = "../kit/mod.rs"]
mod kit;

mod campaigns;
mod figure2;
mod membership;
mod paging;
mod regressions_elections;
mod regressions_flow;
mod regressions_membership;
mod regressions_persistence;
mod regressions_reads;
mod regressions_replication;
mod regressions_restart;
mod regressions_snapshots;
mod regressions_transfer;
mod sent_once;
mod why;
