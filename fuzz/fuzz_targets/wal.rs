//! Any bytes in a log's files are refused, or read, but never a panic: with checksums that fit, so that the parsers behind
//! them are reached. What is refused stays as it is; what is read once is read again.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use raft_core::{Config, NodeId, Raft, Restored};
use raft_std_driver::storage::{FileOptions, FileStorage, Recovered, Storage, StorageError};

const INCARNATION: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

/// An empty directory, in memory where that is possible.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let created = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    created.expect("a directory for the log")
}

fn crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&INCARNATION), bytes)
}

/// The next piece of the input, as long as its first byte says.
fn piece<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&length, rest) = input.split_first()?;
    let (piece, rest) = rest.split_at(rest.len().min(usize::from(length)));
    *input = rest;
    Some(piece)
}

/// A segment with this checkpoint and these payloads, as `docs/storage-format.md` draws it.
fn segment(number: u64, checkpoint: &[u8], payloads: &[&[u8]]) -> Vec<u8> {
    let frames = payloads.iter().map(|payload| 32 + payload.len().next_multiple_of(8));
    let length = ((80 + checkpoint.len()).next_multiple_of(8) + frames.sum::<usize>()) as u64;
    let mut bytes = b"RAFT-WAL\x03\0\0\0\0\0\0\0".to_vec();
    bytes.extend([number.to_le_bytes(), 1u64.to_le_bytes()].concat());
    bytes.extend([[0; 4], (checkpoint.len() as u32).to_le_bytes()].concat());
    bytes.extend([INCARNATION, [7; 8], [1, 0, 0, 0, 0, 0, 0, 0], [9; 8], length.to_le_bytes()].concat());
    bytes.extend(checkpoint);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let mut link = crc(&bytes[16..]).to_le_bytes();
    bytes[12..16].copy_from_slice(&link);
    for (sequence, payload) in (1u64..).zip(payloads.iter().copied()) {
        let mut padded = payload.to_vec();
        padded.resize(payload.len().next_multiple_of(8), 0);
        let mut header = [crc(&padded).to_le_bytes(), link, (payload.len() as u32).to_le_bytes()].concat();
        header.extend([number.to_le_bytes(), sequence.to_le_bytes()].concat());
        link = crc(&header).to_le_bytes();
        bytes.extend([&link[..], &header, &padded].concat());
    }
    bytes
}

fn open(directory: &Path) -> Result<Recovered, StorageError> {
    FileStorage::open(directory, FileOptions { segment_bytes: 4096 })?.recover()
}

fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    files.sort();
    files
}

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    let Some(checkpoint) = piece(&mut rest) else { return };
    // An empty piece stands for a member that was just born.
    let born = &[0, 0, 0, 0, 0, 0, 3, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 1, 0][..];
    let checkpoint = if checkpoint.is_empty() { born } else { checkpoint };
    let directory = &directory();
    let directory = directory.path();
    let payloads: Vec<&[u8]> = std::iter::from_fn(|| piece(&mut rest)).collect();
    let log = segment(1, checkpoint, &payloads);
    fs::write(directory.join("wal-00000000000000000001"), log).unwrap();
    fs::write(directory.join("lock"), []).unwrap();
    let before = files(directory);
    match open(directory) {
        Err(error) => {
            assert!(files(directory) == before, "refused, but changed");
            // Else nothing behind the header is reached.
            assert!(checkpoint != born || !payloads.is_empty(), "a new member is refused: {error}");
        }
        Ok(Recovered { identity, hard_state, snapshot, entries }) => {
            let again = open(directory).expect("what was read once is read again");
            assert!((again.hard_state, &again.snapshot, &again.entries) == (hard_state, &snapshot, &entries));
            let incarnation = identity.incarnation;
            let restored = Restored { incarnation, boot: 1, hard_state, snapshot, entries, ..Restored::default() };
            let _ = Raft::new(Config::new(NodeId(1)), restored);
        }
    }
});
