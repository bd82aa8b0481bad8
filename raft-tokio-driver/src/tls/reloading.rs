//! Looks now and then whether the files have changed.

use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::Instrument;

use super::Tls;

/// Watches certificate files until it is dropped. See [`Tls::watch`].
#[must_use = "dropping it ends the watch"]
#[derive(Debug)]
pub struct TlsWatch {
    task: JoinHandle<()>,
}

impl Drop for TlsWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) fn start(tls: Tls, interval: Duration) -> TlsWatch {
    // In whatever the caller does: that span may say more.
    let watching = watch(tls, interval.max(Duration::from_millis(1))).in_current_span();
    TlsWatch { task: tokio::spawn(watching) }
}

async fn watch(tls: Tls, interval: Duration) {
    let (node, mut complaint) = (tls.node().0, None);
    loop {
        tokio::time::sleep(interval).await;
        let looking = tls.clone();
        let looked = tokio::task::spawn_blocking(move || match looking.refresh() {
            Ok(false) => looking.check_at(std::time::SystemTime::now()).map(|()| false),
            other => other,
        });
        match looked.await {
            Ok(Ok(changed)) => {
                if changed {
                    tracing::info!(node, "new certificates are in use for new connections");
                }
                complaint = None;
            }
            Ok(Err(error)) => {
                // Once, not at every look: that something expired a minute longer ago is no news.
                let mut news = error.to_string();
                news.retain(|c| !c.is_ascii_digit());
                if complaint.as_ref() != Some(&news) {
                    tracing::error!(node, %error, "certificates need attention; those in use stay in use");
                }
                complaint = Some(news);
            }
            // The runtime is going down.
            Err(_) => return,
        }
    }
}
