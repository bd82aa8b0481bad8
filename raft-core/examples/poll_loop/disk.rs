//! The log file of a custom driver: after any crash it holds each write as a whole, or not at all.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use raft_core::codec::{decode_write, encode_write};
use raft_core::{Bytes, Entries, Entry, HardState, Incarnation, Index, Membership, NodeId, Restored, Write, WriteId};

/// The CRC-32 of a frame's place and body.
fn checksum(at: u64, body: &[u8]) -> u32 {
    let update =
        |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)));
    !at.to_le_bytes().iter().chain(body).fold(!0, update)
}

/// Makes a frame, for the disk or for the wire: length, checksum, body. It is valid only at the place `at`.
pub fn seal(at: u64, body: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    Ok([&length.to_le_bytes(), &checksum(at, body).to_le_bytes(), body].concat())
}

/// Splits `bytes` into the body of its first frame and the rest; `None` if the frame is not whole, or not for this place.
pub fn unseal(at: u64, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    (u32::from_le_bytes(*sum) == checksum(at, body)).then_some((body, rest))
}

/// Makes the log file of a new server in `dir`. Its operator calls this once, with the first `members` of the cluster.
pub fn create(dir: &Path, id: NodeId, members: &[NodeId]) -> io::Result<()> {
    let incarnation = Incarnation::founder(RandomState::new().hash_one(id)); // a random number
    let numbers = [incarnation.0].into_iter().chain(members.iter().map(|member| member.0));
    let head: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
    let mut file = OpenOptions::new().write(true).create_new(true).open(dir.join("raft.log"))?;
    file.write_all(&seal(id.0, &head)?)?;
    file.sync_all()?;
    File::open(dir)?.sync_all() // a new name is durable when its directory is
}

/// The log file: its head, then one frame per write. The frames that share a sync are a group: the place of each is the
/// offset of the group's first frame.
pub(crate) struct Disk {
    file: File,
    group: u64,
    end: u64,
    newest: Option<WriteId>, // the last write of the group that is not yet synced
}

impl Disk {
    pub(crate) fn open(dir: &Path, id: NodeId) -> io::Result<(Disk, Restored)> {
        let damaged = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let mut file = OpenOptions::new().read(true).write(true).open(dir.join("raft.log"))?;
        file.try_lock()?; // no second process may use it
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (head, mut rest) = unseal(id.0, &bytes).ok_or_else(|| damaged("damaged, or another server's log"))?;
        let numbers: Vec<u64> = head.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number)).collect();
        let (incarnation, members) = numbers.split_first().ok_or_else(|| damaged("no incarnation in the log"))?;
        let (mut hard_state, mut log, mut group) = (HardState::default(), Vec::new(), 0);
        let mut end = (bytes.len() - rest.len()) as u64;
        while let Some((start, (write, after))) = [end, group].iter().find_map(|at| Some((*at, unseal(*at, rest)?))) {
            replay(&decode_write(Bytes::copy_from_slice(write)).map_err(io::Error::other)?, &mut hard_state, &mut log);
            (group, rest, end) = (start, after, (bytes.len() - after.len()) as u64);
        }
        // A torn last group was never reported as durable: it is cut off. If another group follows, this is damage.
        if (1..rest.len()).any(|skip| unseal(end + skip as u64, &rest[skip..]).is_some()) {
            return Err(damaged("a broken frame stands before a whole one"));
        }
        // What was read may have been in the page cache only: write the last group again before relying on it.
        file.set_len(end)?;
        file.seek(SeekFrom::Start(group))?;
        file.write_all(&bytes[usize::try_from(group).map_err(io::Error::other)?..bytes.len() - rest.len()])?;
        file.sync_all()?;
        let membership = Membership::new(members.iter().copied().map(NodeId));
        let entries = Entries::from_vec(Index(1), log).map_err(io::Error::other)?;
        let restored = Restored::new_cluster(Incarnation(*incarnation), membership);
        Ok((Disk { file, group: end, end, newest: None }, Restored { hard_state, entries, ..restored }))
    }

    pub(crate) fn append(&mut self, write: &Write) -> io::Result<()> {
        let mut body = Vec::new();
        encode_write(write, &mut body).map_err(io::Error::other)?;
        let frame = seal(self.group, &body)?;
        self.end += frame.len() as u64;
        self.newest = Some(write.id);
        self.file.write_all(&frame)
    }

    /// Syncs the group. Returns its last write: this one and all before it are durable.
    pub(crate) fn sync(&mut self) -> io::Result<Option<WriteId>> {
        if self.newest.is_some() {
            self.file.sync_data()?;
            self.group = self.end;
        }
        Ok(self.newest.take())
    }
}

/// Applies a write to the state before it: new entries replace everything from their first index on.
fn replay(write: &Write, hard_state: &mut HardState, log: &mut Vec<Entry>) {
    *hard_state = write.hard_state.unwrap_or(*hard_state);
    if let Some(first) = write.entries.first() {
        log.truncate(usize::try_from(first.index.prev().0).unwrap_or(usize::MAX));
        log.extend(write.entries.iter().map(|(id, payload)| Entry { term: id.term, payload: payload.clone() }));
    }
}
