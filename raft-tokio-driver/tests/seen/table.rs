//! The tables of `docs/observability.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A row of the table of metrics, but for its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) kind: String,
    pub(crate) unit: String,
    pub(crate) labels: BTreeSet<String>,
}

/// A row of the tables of spans and events, but for its words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) level: String,
    pub(crate) fields: BTreeSet<String>,
}

pub(crate) fn metrics() -> BTreeMap<String, Metric> {
    let mut metrics = BTreeMap::new();
    for [name, kind, unit, labels, meaning, alert] in rows("## Metrics") {
        assert!(!meaning.is_empty() && !alert.is_empty(), "{name}: what does it mean, what is there to watch?");
        let metric = Metric { kind, unit, labels: list(&labels) };
        assert!(metrics.insert(name.clone(), metric).is_none(), "{name} is there twice");
    }
    metrics
}

pub(crate) fn spans() -> BTreeSet<Line> {
    lines("## Spans")
}

pub(crate) fn events() -> BTreeSet<Line> {
    lines("## Events")
}

fn lines(heading: &str) -> BTreeSet<Line> {
    let mut lines = BTreeSet::new();
    for [name, level, fields, meaning] in rows(heading) {
        assert!(!meaning.is_empty(), "{name}: what does it mean?");
        assert!(lines.insert(Line { name: name.clone(), level, fields: list(&fields) }), "{name} is there twice");
    }
    lines
}

fn list(text: &str) -> BTreeSet<String> {
    text.split(", ").map(str::to_owned).collect()
}

/// The rows whose first cell is a `name`, from all tables below this heading until the next of its rank.
fn rows<const N: usize>(heading: &str) -> Vec<[String; N]> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/observability.md");
    let text = std::fs::read_to_string(path).unwrap();
    let below = text.lines().skip_while(|line| *line != heading).skip(1);
    let rows = below.take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with("| `"));
    let cells = |row: &str| -> Vec<String> {
        let inner = row.trim_start_matches("| ").trim_end_matches(" |");
        inner.split(" | ").map(|cell| cell.trim().replace('`', "")).collect()
    };
    let rows: Vec<_> = rows.map(|row| cells(row).try_into().unwrap_or_else(|_| panic!("{N} cells: {row}"))).collect();
    assert!(!rows.is_empty(), "nothing below {heading}");
    rows
}
