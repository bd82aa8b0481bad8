//! Where the work of a node runs that may block: [`Threads`], unless [`Builder::workers`](crate::Builder::workers) says
//! something else.

use std::io;

pub use raft_std_driver::workers::{Part, Threads, Workers};
use tokio::runtime::Handle;

/// Each part is a task of the runtime, for simulations: on a runtime of one thread nothing then runs beside it, and the same
/// seed does the same each time.
///
/// Not for anything else: a part blocks on files and on the application's code, and the runtime with it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tasks;

impl Workers for Tasks {
    fn spawn(&self, _name: &str, part: Part) -> io::Result<()> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        runtime.spawn(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn parts_run_on_the_runtime_they_are_given_to_and_nowhere_else() {
        let (done, mut outcome) = oneshot::channel();
        let part = async move { done.send(std::thread::current().id()).unwrap() };
        assert!(Tasks.spawn("lost", Box::pin(async {})).is_err(), "there is no runtime here");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            Tasks.spawn("part", Box::pin(part)).unwrap();
            assert!(outcome.try_recv().is_err(), "not before its turn");
            assert_eq!(outcome.await, Ok(std::thread::current().id()));
        });
    }
}
