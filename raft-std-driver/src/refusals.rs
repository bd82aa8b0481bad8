//! Callbacks of refused commands, made off the loop that refused them.

use std::sync::Arc;

use crate::shared::Shared;

/// The part of a node that makes these calls, until the node stops. The machine's would keep clients waiting who only need
/// to hear who leads.
pub(crate) async fn call_refused(shared: Arc<Shared>) -> Result<(), String> {
    let refusals = Refusals(shared);
    let mut waiting = Vec::new();
    while refusals.0.refusals.take(&mut waiting).await {
        for refused in waiting.drain(..) {
            refused.call();
            refusals.0.inbox.refusal_heard();
        }
    }
    Ok(())
}

struct Refusals(Arc<Shared>);

impl Drop for Refusals {
    fn drop(&mut self) {
        // Before the node stops with the cause, if a call has panicked.
        self.0.refusals.close();
        drop(self.0.refusals.leftovers());
    }
}
