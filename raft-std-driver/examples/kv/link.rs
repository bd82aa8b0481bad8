//! A connection that never waits: frames in, frames out, as far as the socket goes now. For those who serve many at once.

use std::io::{self, ErrorKind, Read, Write};
use std::net;

use mio::event::{Event, Source};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use serde::Serialize;

use crate::protocol::{self, FRAME_BYTES_MAX};

/// How much is read at a time, and what an idle connection keeps of its buffers.
const CHUNK_BYTES: usize = 16 << 10;

pub struct Link {
    stream: TcpStream,
    input: Vec<u8>,
    /// How much of the input has been handed out.
    taken: usize,
    output: Vec<u8>,
    /// How much of the output has been written.
    written: usize,
    /// Whether reading may find something: events tell only of what is new.
    readable: bool,
    /// Whether the other side has said its last: then the end is still to be read.
    ended: bool,
}

impl Link {
    pub fn new(stream: net::TcpStream) -> io::Result<Link> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream);
        Ok(Link { stream, input: Vec::new(), taken: 0, output: Vec::new(), written: 0, readable: true, ended: false })
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.stream.register(registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// What an event says of it.
    pub fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_error();
        self.ended |= event.is_read_closed();
    }

    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// Reads once, if there is something; how many bytes came.
    pub fn fill(&mut self) -> io::Result<usize> {
        if !self.readable {
            return Ok(0);
        }
        self.input.drain(..std::mem::take(&mut self.taken));
        let len = self.input.len();
        self.input.resize(len + CHUNK_BYTES, 0);
        let read = self.stream.read(&mut self.input[len..]);
        self.input.truncate(len + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                // Less than would fit: there was no more, and an event will tell of more.
                self.readable = count == CHUNK_BYTES || self.ended;
                Ok(count)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(0)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// The next frame that has come whole.
    pub fn next_frame(&mut self) -> io::Result<Option<&[u8]>> {
        let Some((len, rest)) = self.input[self.taken..].split_first_chunk() else { return Ok(None) };
        let len = u32::from_le_bytes(*len) as usize;
        if len > FRAME_BYTES_MAX {
            return Err(protocol::too_long(len));
        }
        if rest.len() < len {
            return Ok(None);
        }
        let start = self.taken + size_of::<u32>();
        self.taken = start + len;
        Ok(Some(&self.input[start..self.taken]))
    }

    pub fn push(&mut self, value: &impl Serialize) {
        protocol::push_frame(&mut self.output, value);
    }

    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// How many bytes wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.output.len() - self.written
    }

    /// Writes as much as goes; whether anything did.
    pub fn flush(&mut self) -> io::Result<bool> {
        let before = self.written;
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let wrote = self.written > before;
                    self.output.drain(..std::mem::take(&mut self.written));
                    return Ok(wrote);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.output.shrink_to(CHUNK_BYTES);
        Ok(std::mem::take(&mut self.written) > before)
    }
}
