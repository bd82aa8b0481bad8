//! Makes the seeds of the fuzz targets: what servers lived through in the scripts, and the beginnings of simulated runs.
//!
//! `cargo run --release -p raft-core --features sim --example seeds` writes them to `fuzz/corpus`, beside what is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use raft_core::sim::fuzz::{Life, bytes_of_seed, encode_life, encode_log_operations, lives_of_script};
use raft_core::sim::{Coverage, Options, run_bytes};
use raft_core::{Action, Write, codec};

type Error = Box<dyn std::error::Error>;

/// What campaigns give to libFuzzer's `-max_len`, and so the length of a run's beginning.
const INPUT_BYTES_MAX: usize = 4096;
/// Of so many seeds of the simulator those are taken whose beginnings add something.
const CLUSTER_SEEDS: u64 = 400;
/// A payload of the target `wal` is no longer.
const WAL_PIECE_BYTES_MAX: usize = 255;

fn main() -> Result<(), Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = Corpus(root.join("../fuzz/corpus"));
    let mut frames = BTreeSet::new();
    for script in fs::read_dir(root.join("tests/scripts"))? {
        let path = script?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path)?;
        let lives = lives_of_script(&text).map_err(|error| format!("{name}: {error}"))?;
        for (number, life) in (1..).zip(&lives) {
            let name = format!("{name}-life-{number}-s{}", life.server());
            corpus.put("step", &name, &encode_life(life))?;
            corpus.put("log", &name, &encode_log_operations(&life.log_operations()))?;
            corpus.put("wal", &name, &wal(life)?)?;
            frames_of(life, &mut frames)?;
        }
    }
    for (number, frame) in (1..).zip(&frames) {
        // The target tries each input behind the version, too.
        corpus.put("codec", &format!("frame-{number}"), &frame[1..])?;
    }
    cluster(&corpus)?;
    corpus.count()
}

/// A folder for each target.
struct Corpus(PathBuf);

impl Corpus {
    fn put(&self, target: &str, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let folder = self.0.join(target);
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join(format!("seed-{name}")), bytes)?)
    }

    /// Say what there is.
    fn count(&self) -> Result<(), Error> {
        for folder in fs::read_dir(&self.0)? {
            let folder = folder?;
            let files = fs::read_dir(folder.path())?.collect::<Result<Vec<_>, _>>()?;
            let seeds = files.iter().filter(|file| file.file_name().to_string_lossy().starts_with("seed-"));
            let sizes = seeds.map(|file| Ok(file.metadata()?.len())).collect::<Result<Vec<_>, Error>>()?;
            let (sum, max) = (sizes.iter().sum::<u64>(), sizes.iter().max().unwrap_or(&0));
            let target = folder.file_name();
            println!("{}: {} seeds, {sum} bytes, the largest {max}", target.display(), sizes.len());
        }
        Ok(())
    }
}

fn writes(life: &Life) -> impl Iterator<Item = &Write> {
    let actions = life.steps.iter().flat_map(|(_, actions)| actions);
    actions.filter_map(|action| if let Action::Persist(write) = action { Some(write) } else { None })
}

/// Everything that was sent or written, as frames of the codec.
fn frames_of(life: &Life, frames: &mut BTreeSet<Vec<u8>>) -> Result<(), Error> {
    for write in writes(life) {
        let mut frame = vec![];
        codec::encode_write(write, &mut frame)?;
        frames.insert(frame);
    }
    for action in life.steps.iter().flat_map(|(_, actions)| actions) {
        if let Action::Send { message, .. } = action {
            let mut frame = vec![];
            codec::encode_message(message, &mut frame)?;
            frames.insert(frame);
        }
    }
    Ok(())
}

/// Pieces, each behind its length: the checkpoint of a member that was just born, then a payload for each write
/// (docs/storage-format.md).
fn wal(life: &Life) -> Result<Vec<u8>, Error> {
    let mut pieces = vec![0];
    for write in writes(life) {
        let mut frame = vec![];
        codec::encode_write(write, &mut frame)?;
        let payload = [&u32::try_from(frame.len())?.to_le_bytes()[..], &frame].concat();
        if payload.len() > WAL_PIECE_BYTES_MAX {
            break;
        }
        pieces.push(u8::try_from(payload.len())?);
        pieces.extend(payload);
    }
    Ok(pieces)
}

/// A script's servers draw nothing, so scripts are no seeds of this target: it gets the beginnings of runs in which, taken
/// together, as much happens as possible.
fn cluster(corpus: &Corpus) -> Result<(), Error> {
    let mut coverage = Coverage::default();
    for seed in 0..CLUSTER_SEEDS {
        let bytes = bytes_of_seed(seed, Options::default(), INPUT_BYTES_MAX);
        let before = coverage.missing().count();
        coverage.add(&run_bytes(&bytes, Options::default())?.coverage);
        if coverage.missing().count() < before {
            corpus.put("cluster", &format!("{seed}"), &bytes)?;
        }
    }
    for missing in coverage.missing() {
        println!("cluster: in no seed: {}", missing.words());
    }
    Ok(())
}
