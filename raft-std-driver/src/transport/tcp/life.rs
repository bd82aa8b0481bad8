//! What must end when the transport does: threads, and the sockets that they may be blocked on.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{Builder, JoinHandle};

use tracing::Span;

use crate::queue::lock;
use crate::transport::Inbound;
use crate::transport::parts::{Cut, shut_down};
use crate::workers::panic_message;

impl Cut for TcpStream {
    /// Wakes the thread that is blocked on the socket.
    fn cut(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

/// The threads of a transport, to be joined when it ends.
#[derive(Default)]
pub(super) struct Threads {
    /// What the transport was started in, the node's: what its threads do is done in it.
    span: OnceLock<Span>,
    state: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    closed: bool,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// What is started from now on is done in this span.
    pub(super) fn begin(&self, span: Span) {
        let _first = self.span.set(span);
    }

    /// Run `work` on a thread of its own; `inbound` hears if it panics.
    pub(super) fn spawn(
        &self,
        name: String,
        inbound: &Arc<dyn Inbound>,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(shut_down());
        }
        state.handles.retain(|handle| !handle.is_finished());
        let (builder, inbound) = (Builder::new().name(name.clone()), Arc::clone(inbound));
        let span = self.span.get().cloned().unwrap_or_else(Span::none);
        let watched = move || {
            let _within = span.entered();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                let cause = format!("{name} {}", panic_message(&*panic));
                tracing::error!(thread = name, cause, "the transport has panicked");
                inbound.failed(cause);
            }
        };
        state.handles.push(builder.spawn(watched)?);
        Ok(())
    }

    /// Wait for all of them, and start no more.
    pub(super) fn join(&self) {
        let handles = {
            let mut state = lock(&self.state);
            state.closed = true;
            std::mem::take(&mut state.handles)
        };
        for handle in handles {
            // What panicked was told when it did.
            let _told = handle.join();
        }
    }
}
