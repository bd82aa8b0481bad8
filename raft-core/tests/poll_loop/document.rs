//! `docs/embedding.md` shows the code that runs here, all of it.

use std::fs;
use std::path::Path;

#[test]
fn the_document_shows_the_driver_in_full() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let document = read("../docs/embedding.md");
    let blocks = document.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap_or(rest));
    let shown = blocks.collect::<Vec<_>>().join("\n");
    let run = [read("examples/poll_loop/disk.rs"), read("examples/poll_loop/driver.rs")].join("\n");
    for (number, (shown, run)) in shown.lines().zip(run.lines()).enumerate() {
        let number = number + 1;
        assert_eq!(shown, run, "line {number} of docs/embedding.md's code, and of disk.rs with driver.rs behind it");
    }
    assert_eq!(
        shown.lines().count(),
        run.lines().count(),
        "lines of docs/embedding.md's code, and of disk.rs and driver.rs"
    );
}
