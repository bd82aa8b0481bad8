//! A log to look into.

use std::fmt::{Debug, Write};
use std::sync::{Mutex, Once};

static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Whether a line of the log contains all of these.
pub(crate) fn logged(words: &[&str]) -> bool {
    times_logged(words) > 0
}

/// How many do.
pub(crate) fn times_logged(words: &[&str]) -> usize {
    LOG.lock().unwrap().iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

/// Keep all log lines, but for what is told all the time.
pub(crate) fn watch_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(LogKeeper).unwrap());
}

struct LogKeeper;

impl tracing::Subscriber for LogKeeper {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::DEBUG
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl tracing::field::Visit for Line {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
                match field.name() {
                    "message" => write!(self.0, "{value:?} ").unwrap(),
                    name => write!(self.0, "{name}={value:?} ").unwrap(),
                }
            }
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        LOG.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
