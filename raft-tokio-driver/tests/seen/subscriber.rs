//! A subscriber of spans and events that remembers what is told by this project.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, LazyLock, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::table::Line;

type Fields = BTreeMap<String, String>;

/// Something that was told: a span's opening, an event, or a span's end.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) what: What,
    /// A span's name or an event's message, with all fields that it can have.
    pub(crate) line: Line,
    /// Those that it has.
    pub(crate) fields: Fields,
    /// The spans around it, from the outermost.
    pub(crate) within: Vec<(String, Fields)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Opened,
    Event,
    Closed,
}

/// One for the process.
pub(crate) fn memory() -> &'static Memory {
    static MEMORY: LazyLock<Memory> = LazyLock::new(|| {
        let memory = Memory::default();
        let subscriber = tracing_subscriber::registry().with(memory.clone());
        tracing::subscriber::set_global_default(subscriber).unwrap();
        memory
    });
    &MEMORY
}

#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Vec<Told>>>);

impl Memory {
    pub(crate) fn all(&self) -> Vec<Told> {
        self.0.lock().unwrap().clone()
    }

    /// What this node told itself.
    pub(crate) fn of(&self, node: u64) -> Vec<Told> {
        let told = self.all().into_iter();
        told.filter(|told| told.fields.get("node").is_some_and(|of| *of == node.to_string())).collect()
    }

    fn push(&self, what: What, line: Line, fields: Fields, within: Vec<(String, Fields)>) {
        self.0.lock().unwrap().push(Told { what, line, fields, within });
    }
}

impl Visit for Reader<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

struct Reader<'a>(&'a mut Fields);

fn line(name: &str, metadata: &Metadata<'_>) -> Line {
    let fields: BTreeSet<String> =
        metadata.fields().iter().map(|field| field.name().to_owned()).filter(|field| field != "message").collect();
    Line { name: name.to_owned(), level: metadata.level().to_string().to_lowercase(), fields }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("raft_std_driver") || metadata.target().starts_with("raft_tokio_driver")
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Memory {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let (metadata, mut fields) = (attributes.metadata(), Fields::new());
        if !is_ours(metadata) {
            return;
        }
        attributes.record(&mut Reader(&mut fields));
        let span = context.span(id).unwrap();
        self.push(What::Opened, line(metadata.name(), metadata), fields.clone(), around(span.parent()));
        span.extensions_mut().insert(fields);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::new();
        if !is_ours(event.metadata()) {
            return;
        }
        event.record(&mut Reader(&mut fields));
        let message = fields.remove("message").unwrap_or_default();
        self.push(What::Event, line(&message, event.metadata()), fields, around(context.event_span(event)));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id).unwrap();
        if let Some(fields) = span.extensions().get::<Fields>() {
            let line = line(span.metadata().name(), span.metadata());
            self.push(What::Closed, line, fields.clone(), around(span.parent()));
        }
    }
}

fn around<'a, S: LookupSpan<'a> + 'a>(
    innermost: Option<tracing_subscriber::registry::SpanRef<'a, S>>,
) -> Vec<(String, Fields)> {
    let mut around = Vec::new();
    for span in innermost.into_iter().flat_map(|span| span.scope().from_root()) {
        let fields = span.extensions().get::<Fields>().cloned().unwrap_or_default();
        around.push((span.name().to_owned(), fields));
    }
    around
}
