//! Parts of the core beside plain models of what they are: the same happens to both, drawn by quickcheck, and after each
//! operation every answer is compared. The log's twin is in `sim/fuzz/log`, which a fuzz target drives too.

mod disk;
mod history;
