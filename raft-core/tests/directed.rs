//! The directed tests of the core once more, as one program: what is built for each mutant must be little
//! (`docs/mutants.md`). `cargo test` runs them file by file and leaves this one out.

#[path = "figure2.rs"]
mod figure2;
#[path = "regressions_elections.rs"]
mod regressions_elections;
#[path = "regressions_flow.rs"]
mod regressions_flow;
#[path = "regressions_membership.rs"]
mod regressions_membership;
#[path = "regressions_persistence.rs"]
mod regressions_persistence;
#[path = "regressions_reads.rs"]
mod regressions_reads;
#[path = "regressions_replication.rs"]
mod regressions_replication;
#[path = "regressions_restart.rs"]
mod regressions_restart;
#[path = "regressions_snapshots.rs"]
mod regressions_snapshots;
