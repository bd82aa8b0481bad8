//! The state machine behind the log: a map, and a session for each client.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use raft_core::{Bytes, Index};
use raft_std_driver::machine::{self, SnapshotWriter, StateMachine};
use serde::{Deserialize, Serialize};

use crate::protocol::{self, Answer, Command};

/// How many clients are remembered; the one longest unused makes room for a new one.
const SESSIONS_MAX: usize = 4096;
/// Into how many parts the map is cut: one for each value of a byte. While a snapshot is being written, the first write
/// to each part copies it.
const SHARDS: usize = 1 << u8::BITS;
const SNAPSHOT_VERSION: u32 = 1;

/// What the log's commands have made. A clone is cheap and stays as it is: a frozen view.
#[derive(Clone)]
pub struct Store {
    shards: Vec<Arc<HashMap<Bytes, Bytes>>>,
    sessions: Arc<HashMap<u64, Session>>,
    /// The last command applied.
    applied: Index,
}

/// The last command of one client: if it comes again, its answer does, and nothing else happens (§8).
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Session {
    sequence: u64,
    answer: Answer,
    /// The index of that command.
    used: u64,
}

impl Default for Store {
    fn default() -> Store {
        Store { shards: vec![Arc::default(); SHARDS], sessions: Arc::default(), applied: Index(0) }
    }
}

impl Store {
    pub fn get(&self, key: &[u8]) -> Option<&Bytes> {
        self.shards[shard_of(key)].get(key)
    }

    pub fn keys(&self) -> u64 {
        self.shards.iter().map(|shard| shard.len() as u64).sum()
    }

    /// A number that differs when anything in the store differs, for servers of one build. Looks at everything.
    pub fn checksum(&self) -> u64 {
        let sessions = self.sessions.iter().map(|(id, session)| hash(&(id, protocol::encode(session))));
        // A sum, because maps have no order.
        self.pairs().map(|pair| hash(&pair)).chain(sessions).fold(self.applied.0, u64::wrapping_add)
    }

    fn pairs(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// Carries out one command. Whatever the bytes are, every server answers the same.
    fn apply(&mut self, index: Index, bytes: &[u8]) -> Answer {
        self.applied = index;
        match Command::decode(bytes) {
            Some(Command::Register) => self.register(index),
            Some(Command::Get { key }) => Answer::Got(self.get(key).map(|value| value.to_vec())),
            Some(Command::Put { session, sequence, key, value }) => self.once(session, sequence, |store| {
                store.put(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
                Answer::Put
            }),
            Some(Command::Delete { session, sequence, key }) => {
                self.once(session, sequence, |store| Answer::Deleted { existed: store.delete(key) })
            }
            None => Answer::Malformed,
        }
    }

    fn register(&mut self, index: Index) -> Answer {
        let sessions = Arc::make_mut(&mut self.sessions);
        if sessions.len() >= SESSIONS_MAX
            && let Some(oldest) = sessions.iter().min_by_key(|(_, session)| session.used).map(|(&id, _)| id)
        {
            sessions.remove(&oldest);
        }
        let answer = Answer::Registered { session: index.0 };
        sessions.insert(index.0, Session { sequence: 0, answer: answer.clone(), used: index.0 });
        answer
    }

    /// Carries out a command if it is new to its session; else answers as before.
    fn once(&mut self, session: u64, sequence: u64, command: impl FnOnce(&mut Store) -> Answer) -> Answer {
        match self.sessions.get(&session) {
            Some(last) if last.sequence == sequence => return last.answer.clone(),
            Some(last) if last.sequence < sequence => {}
            _ => return Answer::Expired,
        }
        let answer = command(self);
        let last = Session { sequence, answer: answer.clone(), used: self.applied.0 };
        Arc::make_mut(&mut self.sessions).insert(session, last);
        answer
    }

    fn put(&mut self, key: Bytes, value: Bytes) {
        Arc::make_mut(&mut self.shards[shard_of(&key)]).insert(key, value);
    }

    fn delete(&mut self, key: &[u8]) -> bool {
        Arc::make_mut(&mut self.shards[shard_of(key)]).remove(key).is_some()
    }
}

fn shard_of(key: &[u8]) -> usize {
    usize::from(hash(key).to_le_bytes()[0])
}

/// The same in every process, unlike that of a `HashMap`.
fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What a snapshot is a sequence of, one frame each.
#[derive(Serialize, Deserialize)]
enum Part<'a> {
    Begin {
        version: u32,
        applied: u64,
    },
    Session {
        number: u64,
        session: Session,
    },
    Pair {
        #[serde(borrow, with = "serde_bytes")]
        key: &'a [u8],
        #[serde(borrow, with = "serde_bytes")]
        value: &'a [u8],
    },
    End,
}

impl Store {
    fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(256 << 10, out);
        let mut frame = Vec::new();
        let mut write = |part: Part<'_>| {
            frame.clear();
            protocol::push_frame(&mut frame, &part);
            out.write_all(&frame)
        };
        write(Part::Begin { version: SNAPSHOT_VERSION, applied: self.applied.0 })?;
        for (&number, session) in &*self.sessions {
            write(Part::Session { number, session: session.clone() })?;
        }
        for (key, value) in self.pairs() {
            write(Part::Pair { key, value })?;
        }
        write(Part::End)?;
        out.flush()
    }

    fn read_from(data: &mut dyn Read) -> io::Result<Store> {
        let (mut data, mut frame) = (BufReader::with_capacity(256 << 10, data), Vec::new());
        let mut store = Store::default();
        match protocol::read_value(&mut data, &mut frame)? {
            Part::Begin { version: SNAPSHOT_VERSION, applied } => store.applied = Index(applied),
            Part::Begin { version, .. } => {
                return Err(protocol::invalid(format!("a snapshot of version {version}; this is {SNAPSHOT_VERSION}")));
            }
            _ => return Err(protocol::invalid("not a snapshot".into())),
        }
        let sessions = Arc::make_mut(&mut store.sessions);
        let shards: &mut [HashMap<Bytes, Bytes>] = &mut vec![HashMap::new(); SHARDS];
        loop {
            match protocol::read_value(&mut data, &mut frame)? {
                Part::Session { number, session } => drop(sessions.insert(number, session)),
                Part::Pair { key, value } => {
                    shards[shard_of(key)].insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
                }
                Part::End => break,
                Part::Begin { .. } => return Err(protocol::invalid("a snapshot that begins twice".into())),
            }
        }
        store.shards = shards.iter_mut().map(|shard| Arc::new(std::mem::take(shard))).collect();
        Ok(store)
    }
}

/// A [`Store`] that the log changes and others may look at.
#[derive(Clone, Default)]
pub struct Machine(Arc<RwLock<Store>>);

impl Machine {
    /// Looks at the store; commands wait meanwhile.
    pub fn read(&self) -> RwLockReadGuard<'_, Store> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Store> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateMachine for Machine {
    fn apply(&mut self, commands: &[machine::Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()> {
        let mut store = self.write();
        answers
            .extend(commands.iter().map(|command| protocol::encode(&store.apply(command.index, command.bytes)).into()));
        Ok(())
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        let frozen = self.read().clone();
        Box::new(move |out| frozen.write_to(out))
    }

    fn restore(&mut self, data: &mut dyn Read) -> io::Result<()> {
        let store = Store::read_from(data)?;
        *self.write() = store;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(session: u64, sequence: u64, key: &[u8], value: &[u8]) -> Vec<u8> {
        protocol::encode(&Command::Put { session, sequence, key, value })
    }

    fn register(store: &mut Store, index: u64) -> u64 {
        match store.apply(Index(index), &protocol::encode(&Command::Register)) {
            Answer::Registered { session } => session,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_command_sent_again_takes_effect_once() {
        let mut store = Store::default();
        let (mine, other) = (register(&mut store, 1), register(&mut store, 2));
        assert_eq!(store.apply(Index(3), &put(mine, 1, b"k", b"mine")), Answer::Put);
        assert_eq!(store.apply(Index(4), &put(other, 1, b"k", b"other")), Answer::Put);
        assert_eq!(store.apply(Index(5), &put(mine, 1, b"k", b"mine")), Answer::Put);
        assert_eq!(store.get(b"k").unwrap(), "other", "the second coming of `mine` must not overwrite it");
        let delete = |sequence| protocol::encode(&Command::Delete { session: mine, sequence, key: b"k" });
        assert_eq!(store.apply(Index(6), &delete(2)), Answer::Deleted { existed: true });
        assert_eq!(store.apply(Index(7), &delete(2)), Answer::Deleted { existed: true });
        assert_eq!(store.apply(Index(8), &delete(3)), Answer::Deleted { existed: false });
        assert_eq!(store.apply(Index(9), &put(mine, 2, b"k", b"late")), Answer::Expired);
        assert_eq!(store.apply(Index(10), &put(77, 1, b"k", b"nobody's")), Answer::Expired);
        assert_eq!(store.get(b"k"), None);
    }

    #[test]
    fn sessions_are_bounded_and_the_longest_unused_goes() {
        let mut store = Store::default();
        let sessions: Vec<u64> = (1..=SESSIONS_MAX as u64).map(|index| register(&mut store, index)).collect();
        store.apply(Index(10_000), &put(sessions[0], 1, b"k", b"v"));
        register(&mut store, 10_001);
        assert_eq!(store.sessions.len(), SESSIONS_MAX);
        assert_eq!(store.apply(Index(10_002), &put(sessions[0], 2, b"k", b"w")), Answer::Put);
        assert_eq!(store.apply(Index(10_003), &put(sessions[1], 1, b"k", b"x")), Answer::Expired);
    }

    #[test]
    fn what_is_no_command_changes_nothing() {
        let mut store = Store::default();
        for bytes in [&b""[..], &[0xff; 40], &put(1, 1, b"k", b"v")[..5]] {
            assert_eq!(store.apply(Index(1), bytes), Answer::Malformed);
        }
        assert_eq!(store.keys(), 0);
    }

    #[test]
    fn a_snapshot_is_the_state_when_it_was_frozen() {
        let mut machine = Machine::default();
        let session = register(&mut machine.write(), 1);
        for n in 0..1000 {
            machine.write().apply(Index(2 + n), &put(session, 1 + n, &n.to_le_bytes(), &b"seven".repeat(3)));
        }
        let checksum = machine.read().checksum();
        let writer = machine.snapshot();
        machine.write().apply(Index(1002), &put(session, 1001, &5_u64.to_le_bytes(), b"later"));
        assert_ne!(machine.read().checksum(), checksum);

        let mut bytes = Vec::new();
        writer(&mut bytes).unwrap();
        let mut restored = Machine::default();
        restored.restore(&mut &bytes[..]).unwrap();
        assert_eq!(restored.read().checksum(), checksum);
        assert_eq!(restored.read().keys(), 1000);
        assert_eq!(restored.read().applied, Index(1001));
        let again = put(session, 1000, &5_u64.to_le_bytes(), b"a retry of the last command");
        assert_eq!(restored.write().apply(Index(1002), &again), Answer::Put);
        assert_eq!(
            restored.read().get(&5_u64.to_le_bytes()).unwrap(),
            "sevensevenseven",
            "sessions are part of a snapshot"
        );

        for broken in [&bytes[..bytes.len() - 5], &bytes[..bytes.len() / 2], &bytes[9..], b""] {
            assert!(machine.restore(&mut &*broken).is_err());
        }
        assert_eq!(machine.read().applied, Index(1002), "a broken snapshot replaces nothing");
    }

    #[test]
    fn a_checksum_sees_values_change_places() {
        let store = |first: &[u8], second: &[u8]| {
            let mut store = Store::default();
            store.put(Bytes::from_static(b"1"), Bytes::copy_from_slice(first));
            store.put(Bytes::from_static(b"2"), Bytes::copy_from_slice(second));
            store.checksum()
        };
        assert_eq!(store(b"a", b"b"), store(b"a", b"b"));
        assert_ne!(store(b"a", b"b"), store(b"b", b"a"));
        assert_ne!(store(b"a", b"b"), store(b"a", b"c"));
    }
}
