//! Streams between servers: bytes travel, and may stall, tear into pieces, or end.

use std::collections::{BTreeMap, VecDeque};

use raft_std_driver::peers::LinkId;

/// So many bytes fit into one direction before who writes has to wait.
const BUFFER_BYTES: usize = 16 << 10;

/// One end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    pub(crate) host: usize,
    pub(crate) life: u64,
    pub(crate) link: LinkId,
}

/// One direction.
#[derive(Default)]
struct Pipe {
    /// When what was written arrives.
    flying: VecDeque<(u64, Vec<u8>)>,
    arrived: VecDeque<u8>,
    bytes: usize,
    /// When the line is free again.
    free_at: u64,
    /// The writer has closed it.
    ended: bool,
}

struct Stream {
    ends: [End; 2],
    /// From the first end to the second, and back.
    pipes: [Pipe; 2],
    reset: bool,
}

/// How bytes travel now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// In milliseconds, at most.
    pub(crate) delay: u64,
    /// In bytes per millisecond.
    pub(crate) bandwidth: u64,
}

/// What reading gives.
pub(crate) enum Came {
    Bytes(usize),
    Nothing,
    End,
    Reset,
}

#[derive(Default)]
pub(crate) struct Streams {
    streams: Vec<Stream>,
    ends: BTreeMap<(usize, u64, u64), (usize, usize)>,
}

fn key(end: End) -> (usize, u64, u64) {
    (end.host, end.life, end.link.number())
}

impl Streams {
    pub(crate) fn connect(&mut self, from: End, to: End) {
        let index = self.streams.len();
        self.streams.push(Stream { ends: [from, to], pipes: Default::default(), reset: false });
        self.ends.insert(key(from), (index, 0));
        self.ends.insert(key(to), (index, 1));
    }

    fn find(&mut self, end: End) -> Option<(&mut Stream, usize)> {
        let (index, side) = *self.ends.get(&key(end))?;
        Some((self.streams.get_mut(index)?, side))
    }

    /// Write a part of these; how much was taken.
    pub(crate) fn write(
        &mut self,
        end: End,
        bytes: &[u8],
        now: u64,
        weather: Weather,
        most: usize,
    ) -> Result<usize, ()> {
        let Some((stream, side)) = self.find(end) else { return Err(()) };
        if stream.reset || stream.pipes[1 - side].ended {
            return Err(());
        }
        let pipe = &mut stream.pipes[side];
        let count = bytes.len().min(most).min(BUFFER_BYTES - pipe.bytes);
        if count > 0 {
            let took = (count as u64).div_ceil(weather.bandwidth.max(1)).saturating_sub(1);
            pipe.free_at = pipe.free_at.max(now) + took;
            let arrives = (pipe.free_at + weather.delay).max(pipe.flying.back().map_or(0, |(at, _)| *at));
            pipe.flying.push_back((arrives, bytes[..count].to_vec()));
            pipe.bytes += count;
        }
        Ok(count)
    }

    pub(crate) fn read(&mut self, end: End, room: &mut [u8], now: u64) -> Came {
        let Some((stream, side)) = self.find(end) else { return Came::Reset };
        if stream.reset {
            return Came::Reset;
        }
        let pipe = &mut stream.pipes[1 - side];
        while let Some((_, bytes)) = pipe.flying.pop_front_if(|(at, _)| *at <= now) {
            pipe.arrived.extend(bytes);
        }
        let count = room.len().min(pipe.arrived.len());
        room.iter_mut().zip(pipe.arrived.drain(..count)).for_each(|(room, byte)| *room = byte);
        pipe.bytes -= count;
        match count {
            0 if pipe.ended && pipe.bytes == 0 => Came::End,
            0 => Came::Nothing,
            count => Came::Bytes(count),
        }
    }

    /// The owner of this end closes it.
    pub(crate) fn close(&mut self, end: End) {
        if let Some((stream, side)) = self.find(end) {
            stream.pipes[side].ended = true;
        }
        self.ends.remove(&key(end));
    }

    /// Everything between these hosts breaks.
    pub(crate) fn reset_between(&mut self, a: usize, b: usize) -> usize {
        let between = |stream: &&mut Stream| {
            let [one, two] = stream.ends.map(|end| end.host);
            !stream.reset && ((one, two) == (a, b) || (two, one) == (a, b))
        };
        self.streams.iter_mut().filter(between).map(|stream| stream.reset = true).count()
    }

    /// A host has died: all its streams break.
    pub(crate) fn reset_of(&mut self, host: usize) {
        let of = |stream: &&mut Stream| stream.ends.iter().any(|end| end.host == host);
        self.streams.iter_mut().filter(of).for_each(|stream| stream.reset = true);
    }
}
