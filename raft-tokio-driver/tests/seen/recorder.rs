//! A recorder of metrics that can be read without being emptied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

use crate::table::Metric;

/// One for the process. A node that starts later is heard.
pub(crate) fn recorder() -> &'static Memory {
    static MEMORY: LazyLock<Memory> = LazyLock::new(|| {
        let memory = Memory::default();
        metrics::set_global_recorder(memory.clone()).unwrap();
        memory
    });
    &MEMORY
}

/// What was registered, described and said.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    described: BTreeMap<String, (&'static str, Unit, String)>,
    series: BTreeMap<Key, Series>,
}

#[derive(Clone)]
struct Series {
    kind: &'static str,
    value: Arc<Value>,
}

/// Of one series: a gauge's or a counter's value, how much a histogram was told, and the highest of its values ever.
#[derive(Default)]
struct Value {
    now: AtomicU64,
    records: AtomicU64,
    highest: AtomicU64,
}

impl Value {
    fn read(&self) -> f64 {
        f64::from_bits(self.now.load(Ordering::SeqCst))
    }

    fn write(&self, value: f64) {
        self.now.store(value.to_bits(), Ordering::SeqCst);
        // Numbers that are not negative are ordered like their bits.
        assert!(value >= 0.0, "{value}");
        self.highest.fetch_max(value.to_bits(), Ordering::SeqCst);
    }
}

impl CounterFn for Value {
    fn increment(&self, by: u64) {
        let count = self.records.fetch_add(by, Ordering::SeqCst) + by;
        self.write(count as f64);
    }

    fn absolute(&self, _: u64) {
        panic!("a node that starts again in one process would be counted short");
    }
}

impl GaugeFn for Value {
    fn increment(&self, by: f64) {
        self.write(self.read() + by);
    }

    fn decrement(&self, by: f64) {
        self.write(self.read() - by);
    }

    fn set(&self, value: f64) {
        self.write(value);
    }
}

impl HistogramFn for Value {
    fn record(&self, value: f64) {
        self.records.fetch_add(1, Ordering::SeqCst);
        self.write(value);
    }
}

impl Memory {
    fn describe(&self, name: &KeyName, kind: &'static str, unit: Option<Unit>, meaning: &SharedString) {
        let unit = unit.unwrap_or_else(|| panic!("{}: of what unit?", name.as_str()));
        self.0.lock().unwrap().described.insert(name.as_str().to_owned(), (kind, unit, meaning.to_string()));
    }

    fn register(&self, key: &Key, kind: &'static str) -> Arc<Value> {
        let mut inner = self.0.lock().unwrap();
        let series = inner.series.entry(key.clone()).or_insert_with(|| Series { kind, value: Arc::default() });
        assert_eq!(series.kind, kind, "{key}");
        Arc::clone(&series.value)
    }

    /// The series of this name that have all of these labels.
    fn find(&self, name: &str, labels: &[(&str, &str)]) -> Vec<Series> {
        let fits = |key: &Key| {
            let has = |wanted: &(&str, &str)| key.labels().any(|label| (label.key(), label.value()) == *wanted);
            key.name() == name && labels.iter().all(has)
        };
        let inner = self.0.lock().unwrap();
        inner.series.iter().filter(|(key, _)| fits(key)).map(|(_, series)| series.clone()).collect()
    }

    /// The sum of what they say now.
    pub(crate) fn now(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).iter().map(|series| series.value.read()).sum()
    }

    /// How often histograms were told something.
    pub(crate) fn records(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.find(name, labels).iter().map(|series| series.value.records.load(Ordering::SeqCst)).sum()
    }

    /// The highest that any of them has ever said.
    pub(crate) fn highest(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let highest = self.find(name, labels).into_iter().map(|series| series.value.highest.load(Ordering::SeqCst));
        highest.max().map_or(0.0, f64::from_bits)
    }

    /// From now on the highest is the highest of what comes, and of what they say now.
    pub(crate) fn forget_highest(&self, name: &str, labels: &[(&str, &str)]) {
        for series in self.find(name, labels) {
            series.value.highest.store(series.value.now.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    }

    /// Everything that was registered, as it was described.
    pub(crate) fn metrics(&self) -> BTreeMap<String, Metric> {
        let inner = self.0.lock().unwrap();
        let mut metrics = BTreeMap::new();
        for (key, series) in &inner.series {
            let Some((kind, unit, meaning)) = inner.described.get(key.name()) else { panic!("{key} is not described") };
            assert!(*kind == series.kind && !meaning.is_empty(), "{key} is described as something else");
            let labels: BTreeSet<String> = key.labels().map(|label| label.key().to_owned()).collect();
            let metric = Metric { kind: (*kind).to_owned(), unit: unit.as_str().to_owned(), labels };
            let others = metrics.insert(key.name().to_owned(), metric.clone());
            assert!(others.is_none_or(|other| other == metric), "{key}: other labels than its like");
        }
        metrics
    }
}

impl Recorder for Memory {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, meaning: SharedString) {
        self.describe(&key, "counter", unit, &meaning);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, meaning: SharedString) {
        self.describe(&key, "gauge", unit, &meaning);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, meaning: SharedString) {
        self.describe(&key, "histogram", unit, &meaning);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.register(key, "counter"))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.register(key, "gauge"))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.register(key, "histogram"))
    }
}
