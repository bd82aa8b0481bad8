//! Looks now and then whether the files have changed.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, SystemTime};

use tracing::Span;

use super::Tls;

/// Watches certificate files until it is dropped. See [`Tls::watch`].
#[must_use = "dropping it ends the watch"]
#[derive(Debug)]
pub struct TlsWatch {
    /// The thread ends when this is gone.
    _alive: Sender<()>,
}

pub(super) fn start(tls: Tls, interval: Duration) -> TlsWatch {
    let ((alive, ended), interval, node) = (mpsc::channel(), interval.max(Duration::from_millis(1)), tls.node().0);
    // In whatever the caller does: that span may say more.
    let span = Span::current();
    let watch = move || {
        let _entered = span.entered();
        let mut complaint = None;
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(interval) {
            look(&tls, &mut complaint);
        }
    };
    if let Err(error) = thread::Builder::new().name(format!("raft{node}-tls")).spawn(watch) {
        tracing::error!(node, %error, "cannot start a thread: certificate files are not watched");
    }
    TlsWatch { _alive: alive }
}

/// Look once, and say what is new; `complaint` is what was complained about last.
fn look(tls: &Tls, complaint: &mut Option<String>) {
    let node = tls.node().0;
    let looked = match tls.refresh() {
        Ok(false) => tls.check_at(SystemTime::now()).map(|()| false),
        other => other,
    };
    match looked {
        Ok(changed) => {
            if changed {
                tracing::info!(node, "new certificates are in use for new connections");
            }
            *complaint = None;
        }
        Err(error) => {
            // Once, not at every look: that something expired a minute longer ago is no news.
            let mut news = error.to_string();
            news.retain(|c| !c.is_ascii_digit());
            if complaint.as_ref() != Some(&news) {
                tracing::error!(node, %error, "certificates need attention; those in use stay in use");
            }
            *complaint = Some(news);
        }
    }
}
