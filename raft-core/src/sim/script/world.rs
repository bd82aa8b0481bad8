//! The world of a script: the simulator's servers and duties, but every message, write and piece of work waits until the
//! script lets it go.

use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::grammar::{self, Words, Wrong};
use super::settings::{self, Stated};
use super::{Outcome, Stop};
use crate::sim::cluster::{Cluster, Item, Temper, Transfer};
use crate::sim::entropy::Entropy;
use crate::sim::machine::SnapshotFile;
use crate::sim::network::SERVERS_MAX;
use crate::sim::queue::Time;
use crate::sim::server::{Beginning, Clock, Seat, Server};
use crate::sim::trace::Trace;
use crate::{Config, Entries, Event, FetchId, Index, Message, NodeId, WriteId};

/// An election timeout that no script outlives: who is stated none campaigns when it is told to.
const NEVER: u32 = 1 << 30;

/// A message on its way.
#[derive(Clone)]
pub(crate) struct Letter {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) message: Message,
    /// As it reads in a trace.
    pub(crate) text: String,
}

/// What a server's driver does by itself, or only when told.
#[derive(Clone, Copy, Default)]
pub(crate) struct Held {
    pub(crate) disk: bool,
    pub(crate) machine: bool,
}

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    /// In the order in which it was sent.
    pub(crate) mail: Vec<Letter>,
    /// Everything that was ever sent: the network may deliver it again.
    sent: BTreeMap<(usize, usize, String), Message>,
    /// Snapshots on their way.
    pub(crate) transfers: Vec<Transfer>,
    /// All there ever were.
    pub(crate) asked_transfers: Vec<Transfer>,
    /// Entries that were read back, and of which the server has not heard.
    pub(crate) fetched: Vec<(usize, u32, FetchId, Entries)>,
    pub(crate) held: Vec<Held>,
    /// Writes that are durable, and the server has not heard of it.
    pub(crate) untold: Vec<Option<WriteId>>,
}

impl World {
    /// `cluster 3 spares=1 timeouts=20,25,- leader_noop=off`
    pub(crate) fn new(mut words: Words<'_>) -> Wrong<World> {
        let (founders, mut spares) = (words.number("how many servers")?, 0);
        let mut common = Config::new(NodeId(0));
        let mut timeouts = vec![Some(NEVER); SERVERS_MAX];
        while let Some(word) = words.next() {
            match grammar::setting(word)? {
                ("spares", count) => spares = grammar::number(count, "how many spares")?,
                ("timeouts", "drawn") => timeouts.fill(None),
                ("timeouts", list) => {
                    for (timeout, ticks) in timeouts.iter_mut().zip(list.split(',')).filter(|(_, ticks)| *ticks != "-")
                    {
                        let ticks = grammar::number(ticks, "a timeout")?;
                        *timeout = Some(u32::try_from(ticks).map_err(|_| format!("timeout {ticks} is too long"))?);
                    }
                }
                (name, value) => settings::change(&mut common, name, value)?,
            }
        }
        let count = founders.saturating_add(spares);
        if founders == 0 || count > SERVERS_MAX as u64 {
            return Err(format!("there can be 1 to {SERVERS_MAX} servers"));
        }
        let seats = (1..=count).map(|id| {
            let beginning = if id <= founders { Beginning::Founder } else { Beginning::Spare };
            Seat { config: Config { id: NodeId(id), ..common.clone() }, clock: Clock::Steady, beginning }
        });
        let mut cluster = Cluster::new(seats.collect(), Temper::CALM, Entropy::from_bytes(&[]), Trace::all());
        for (server, timeout) in cluster.servers.iter_mut().zip(timeouts) {
            server.config.check().map_err(|error| error.to_string())?;
            server.stated_timeout = timeout;
        }
        let servers = cluster.servers.len();
        Ok(World {
            cluster,
            mail: Vec::new(),
            sent: BTreeMap::new(),
            transfers: Vec::new(),
            asked_transfers: Vec::new(),
            fetched: Vec::new(),
            held: vec![Held::default(); servers],
            untold: vec![None; servers],
        })
    }

    /// What came out since this was asked last.
    pub(crate) fn told(&mut self) -> Vec<String> {
        self.cluster.trace.take()
    }

    /// The script is over: what clients were told must be true.
    pub(crate) fn finish(self) -> Outcome {
        Ok(self.cluster.oracles.finish(&self.cluster.clients)?)
    }

    pub(crate) fn slots(&self) -> std::ops::Range<usize> {
        0..self.cluster.servers.len()
    }

    pub(crate) fn slot(&self, id: NodeId) -> Wrong<usize> {
        let slot = self.cluster.servers.iter().position(|server| server.id == id);
        slot.ok_or_else(|| format!("there is no server {id}"))
    }

    pub(crate) fn server(&self, slot: usize) -> &Server {
        &self.cluster.servers[slot]
    }

    pub(crate) fn name(&self, slot: usize) -> String {
        format!("s{}", self.server(slot).id)
    }

    /// Change the configuration of a server, which counts from its next start on.
    pub(crate) fn configure(&mut self, slot: usize, words: &mut Words<'_>) -> Wrong {
        let server = &mut self.cluster.servers[slot];
        settings::change_all(&mut server.config, words)?;
        server.config.check().map_err(|error| error.to_string())
    }

    /// State what the disk and the application of a server have that never ran.
    pub(crate) fn state(&mut self, slot: usize, words: &mut Words<'_>) -> Outcome {
        let mut stated = Stated::default();
        while let Some(word) = words.next() {
            let (name, value) = grammar::setting(word)?;
            stated.set(name, value)?;
        }
        let Cluster { servers, oracles, .. } = &mut self.cluster;
        let server = &mut servers[slot];
        if server.life > 0 {
            return Err(Stop::Wrong("a state is stated before the first start".into()));
        }
        let entries = stated.entries()?;
        let committed = stated.snapshot.max(stated.applied);
        if committed > entries.last().map_or(Index(0), |last| last.index) {
            return Err(Stop::Wrong("the log ends before the snapshot, or before what is applied".into()));
        }
        for write in stated.writes(&server.disk.durable.snapshot)? {
            oracles.stated(&server.disk.written, &write)?;
            server.disk.submit(write);
        }
        server.disk.complete_through(WriteId::from_number(0));
        let known = entries.iter().take_while(|(id, _)| id.index <= committed).count();
        let known = entries.slices().flat_map(|(_, slice)| slice).take(known).cloned().collect();
        oracles.stated_committed(&Entries::from_vec(Index(1), known).map_err(|error| error.to_string())?);
        let meta = server.disk.durable.snapshot.clone();
        if let Some(state) = oracles.state_at(meta.last.index).filter(|_| meta.last.index > Index(0)) {
            server.keep_file(SnapshotFile { meta, state });
        }
        server.machine.kept = oracles.state_at(stated.applied).unwrap_or_default();
        server.machine.state = server.machine.kept;
        Ok(())
    }

    /// Feed a server an event, and let its disk and its application do what they do by themselves.
    pub(crate) fn step(&mut self, slot: usize, event: Event) -> Outcome {
        self.feed(slot, event)?;
        loop {
            let server = self.server(slot);
            if !self.held[slot].disk && !server.disk.is_idle() {
                self.persist(slot, usize::MAX)?;
            } else if !self.held[slot].machine && server.machine.next_index().is_some() {
                self.apply(slot, Index::MAX)?;
            } else if !self.held[slot].disk && self.read(slot)? {
            } else {
                return Ok(());
            }
        }
    }

    fn feed(&mut self, slot: usize, event: Event) -> Outcome {
        if !self.server(slot).is_up() {
            return Err(Stop::Wrong(format!("{} is down", self.name(slot))));
        }
        let ticks = matches!(event, Event::Tick { .. });
        self.cluster.step(slot, event)?;
        if ticks {
            self.cluster.oracles.ticked(slot, &self.cluster.servers[slot])?;
        }
        self.collect();
        Ok(())
    }

    /// The oldest entries that were read back come to their server. Says whether there were any.
    fn read(&mut self, slot: usize) -> Outcome<bool> {
        let life = self.server(slot).life;
        self.fetched.retain(|(of, at, ..)| *of != slot || *at == life);
        let Some(place) = self.fetched.iter().position(|(of, ..)| *of == slot) else { return Ok(false) };
        let (_, _, id, entries) = self.fetched.remove(place);
        self.feed(slot, Event::Fetched { id, entries })?;
        Ok(true)
    }

    /// Put what the step sent with what is on its way. All else waits for a command.
    pub(crate) fn collect(&mut self) {
        while let Some((_, item)) = self.cluster.queue.pop(Time::MAX) {
            match item {
                Item::Deliver { from, to, message } => {
                    let text = message.to_string();
                    self.sent.insert((from, to, text.clone()), message.clone());
                    self.mail.push(Letter { from, to, message, text });
                }
                Item::Arrive(transfer) => {
                    self.asked_transfers.push(transfer.clone());
                    self.transfers.push(transfer);
                }
                Item::Fetched { slot, life, id, entries } => self.fetched.push((slot, life, id, entries)),
                _ => {}
            }
        }
    }

    /// What reads like this and was ever sent: the letter that is on its way, or a copy of one that was.
    pub(crate) fn letter(&mut self, from: usize, to: usize, text: &str) -> Option<Letter> {
        let on_its_way = self.mail.iter().position(|mail| (mail.from, mail.to) == (from, to) && mail.text == text);
        if let Some(place) = on_its_way {
            return Some(self.mail.remove(place));
        }
        let message = self.sent.get(&(from, to, text.into()))?.clone();
        Some(Letter { from, to, message, text: text.into() })
    }

    /// A letter arrives, or is lost because its way is cut or its receiver down.
    pub(crate) fn deliver(&mut self, letter: Letter) -> Outcome {
        let Letter { from, to, message, text } = letter;
        let why = if !self.server(to).is_up() {
            "it is down"
        } else if !self.cluster.network.connects(from, to) {
            "the way is cut"
        } else {
            return self.step(to, Event::Receive { from: self.server(from).id, message });
        };
        let line = format!("{} misses {text} from {}: {why}", self.name(to), self.name(from));
        self.cluster.trace.remark(line);
        Ok(())
    }

    /// The oldest `count` writes of a disk become durable with one sync, and the server hears of the newest.
    pub(crate) fn persist(&mut self, slot: usize, count: usize) -> Outcome {
        self.sync(slot, count);
        match self.untold[slot].take() {
            Some(id) => self.step(slot, Event::Persisted(id)),
            None => Err(Stop::Wrong(format!("the disk of {} has nothing to do", self.name(slot)))),
        }
    }

    /// The oldest `count` writes of a disk become durable, and the server does not hear of it.
    pub(crate) fn sync(&mut self, slot: usize, count: usize) {
        let disk = &self.server(slot).disk;
        if let Some(id) = disk.outstanding().take(count).last() {
            self.sync_through(slot, id);
            self.untold[slot] = Some(id);
        }
    }

    pub(crate) fn sync_through(&mut self, slot: usize, id: WriteId) {
        let server = &mut self.cluster.servers[slot];
        server.disk.complete_through(id);
        server.drop_old_files();
        self.untold[slot] = self.untold[slot].filter(|untold| *untold > id);
    }

    /// The application does all its work through `through`, and reports.
    pub(crate) fn apply(&mut self, slot: usize, through: Index) -> Outcome {
        if !self.run_machine(slot, through)? {
            return Err(Stop::Wrong(format!("the application of {} has nothing to do", self.name(slot))));
        }
        let index = self.server(slot).machine.state.last.index;
        self.step(slot, Event::Applied(index))
    }

    /// Says whether there was anything to do.
    pub(crate) fn run_machine(&mut self, slot: usize, through: Index) -> Outcome<bool> {
        let mut ran = false;
        while self.server(slot).machine.next_index().is_some_and(|next| next <= through) {
            self.cluster
                .do_work(slot, |_, entries| entries.iter().take_while(|(id, _)| id.index <= through).count() as u64)?;
            ran = true;
        }
        Ok(ran)
    }

    /// The state that a server's application would have at `index`, as a file that a snapshot there would be.
    pub(crate) fn make_snapshot(&mut self, slot: usize, index: Index) -> Outcome {
        self.run_machine(slot, index)?;
        let Cluster { servers, oracles, .. } = &mut self.cluster;
        let server = &mut servers[slot];
        let meta = server.raft.as_ref().and_then(|raft| raft.snapshot_at(index));
        if let (Some(meta), Some(state)) = (meta, oracles.state_at(index))
            && index <= server.machine.state.last.index
        {
            server.keep_file(SnapshotFile { meta, state });
        }
        Ok(())
    }

    pub(crate) fn start(&mut self, slot: usize) -> Outcome {
        self.untold[slot] = None;
        self.cluster.start(slot)?;
        self.collect();
        Ok(())
    }

    /// What is not durable is lost.
    pub(crate) fn crash(&mut self, slot: usize) {
        self.untold[slot] = None;
        self.cluster.crash(slot);
        self.collect();
    }

    /// The disk of a server is lost.
    pub(crate) fn wipe(&mut self, slot: usize) {
        self.untold[slot] = None;
        self.cluster.wipe(slot);
        self.collect();
    }

    /// A server goes back to a disk that it once had.
    pub(crate) fn mount(&mut self, slot: usize, words: &mut Words<'_>) -> Outcome {
        let disk = grammar::disk(words.word("a disk")?)?;
        self.untold[slot] = None;
        let mounted = self.cluster.mount(slot, disk);
        self.collect();
        if mounted {
            Ok(())
        } else {
            Err(Stop::Wrong(format!("{} has no disk {disk} but the one in use", self.name(slot))))
        }
    }

    /// A snapshot arrives whole.
    pub(crate) fn receive_snapshot(&mut self, transfer: &Transfer) -> Outcome {
        let Transfer { from, to, term, file, .. } = transfer;
        let (from, snapshot) = (self.server(*from).id, file.meta.clone());
        self.cluster.servers[*to].keep_file(file.clone());
        self.step(*to, Event::SnapshotReceived { from, term: *term, snapshot })
    }

    /// The sender of a snapshot hears what became of it, if it still lives the same life.
    pub(crate) fn report_snapshot(&mut self, transfer: &Transfer, delivered: bool) -> Outcome {
        let sender = self.server(transfer.from);
        if !sender.is_up() || sender.life != transfer.life {
            return Ok(());
        }
        let (to, snapshot) = (self.server(transfer.to).id, transfer.file.meta.last);
        self.step(transfer.from, Event::SnapshotSent { to, snapshot, delivered })
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use crate::sim::run_script;

    /// Who belongs to no cluster starts, is asked nothing, and takes no command; who does needs no spare.
    #[test]
    fn spares_are_no_members() {
        let begin = "cluster 2 spares=1 leader_noop=off\nboot\ntimeout s1\nstabilize\nexpect s1 role=leader\n";
        let waits = "timeout s3\nexpect s3 role=follower term=0\nexpect mail 0\nstart s3\nexpect s3 log=-\n";
        let alone =
            "crash s2\nstart s1\nstabilize\nexpect committed 0\nboot s2\ntick 5\nstabilize\nexpect committed 1\n";
        let told = run_script(&[begin, waits, alone].concat()).unwrap_or_else(|error| panic!("{error}"));
        assert!(told.contains("s3 starts from applied 0") && told.contains("refused 0: not the leader"), "{told}");
        let refused = |text: &str| run_script(text).map_err(|error| error.what);
        let (none, too_many) = ("cluster 0 spares=3\n", "cluster 3 spares=6\n");
        assert_eq!([none, too_many].map(refused), [(); 2].map(|()| Err(String::from("there can be 1 to 8 servers"))));
    }
}
