//! What clients and servers say to each other: a greeting, then frames of a length and a postcard value. The answers
//! come in the order of the requests.

use std::io::{self, BufRead, Read};

use serde::{Deserialize, Serialize};

/// A client's first bytes. A peer begins otherwise, so both may call at the same port.
pub const GREETING: [u8; 8] = *b"raft-kv1";
pub const KEY_BYTES_MAX: usize = 4 << 10;
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// The largest command: a key, a value, and a few numbers.
pub const COMMAND_BYTES_MAX: usize = KEY_BYTES_MAX + VALUE_BYTES_MAX + 64;
pub const FRAME_BYTES_MAX: usize = COMMAND_BYTES_MAX + 64;

/// What the log carries. A writing command names its client's session and its place in it, so that one that is sent
/// again, because its fate was not known, takes effect once (§8).
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Command<'a> {
    /// Opens a session; the log's index becomes its number.
    Register,
    Put {
        session: u64,
        sequence: u64,
        #[serde(borrow, with = "serde_bytes")]
        key: &'a [u8],
        #[serde(borrow, with = "serde_bytes")]
        value: &'a [u8],
    },
    Delete {
        session: u64,
        sequence: u64,
        #[serde(borrow, with = "serde_bytes")]
        key: &'a [u8],
    },
    /// A read as of its place in the log. It changes nothing and may be repeated. Because its answer may be large, the
    /// server begins with nothing else of the same connection meanwhile.
    Get {
        #[serde(borrow, with = "serde_bytes")]
        key: &'a [u8],
    },
}

impl<'a> Command<'a> {
    /// A command within its limits, or nothing.
    pub fn decode(bytes: &'a [u8]) -> Option<Command<'a>> {
        let command = decode(bytes)?;
        let (key, value): (&[u8], &[u8]) = match &command {
            Command::Register => (&[], &[]),
            Command::Put { key, value, .. } => (key, value),
            Command::Delete { key, .. } | Command::Get { key } => (key, &[]),
        };
        (key.len() <= KEY_BYTES_MAX && value.len() <= VALUE_BYTES_MAX).then_some(command)
    }
}

/// The state machine's answer to a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    Registered {
        session: u64,
    },
    Put,
    Deleted {
        existed: bool,
    },
    Got(#[serde(with = "serde_bytes")] Option<Vec<u8>>),
    /// The session is not known any more, or is past this command: whether it took effect is not known.
    Expired,
    /// Not a command.
    Malformed,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// An encoded [`Command`], for the log.
    Command(#[serde(borrow, with = "serde_bytes")] &'a [u8]),
    /// What this server has applied for the key; may be old.
    Peek {
        #[serde(borrow, with = "serde_bytes")]
        key: &'a [u8],
    },
    Status {
        checksum: bool,
    },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Response<'a> {
    /// The command took effect; an encoded [`Answer`].
    Applied(#[serde(borrow, with = "serde_bytes")] &'a [u8]),
    /// The command was not taken: ask the leader, if one is known.
    NotLeader {
        leader: Option<&'a str>,
    },
    /// The command was not taken; another time it may be.
    TryAgain,
    /// The command never can be taken.
    Refused(&'a str),
    /// The command may have taken effect, or still will.
    Unknown,
    Peeked(#[serde(borrow, with = "serde_bytes")] Option<&'a [u8]>),
    Status(Status),
}

/// One server as it sees itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub id: u64,
    pub role: String,
    pub term: u64,
    pub leader: Option<u64>,
    pub commit: u64,
    pub last: u64,
    /// The last index that is applied; `keys` and `checksum` may be as of a little later.
    pub applied: u64,
    pub keys: u64,
    /// Of all keys, values and sessions, and the index of the last command.
    pub checksum: Option<u64>,
}

/// A value from bytes; `None` if they are anything else.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

pub fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("serializing to memory does not fail")
}

/// Appends a frame to what will be sent.
pub fn push_frame(out: &mut Vec<u8>, value: &impl Serialize) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    *out = postcard::to_extend(value, std::mem::take(out)).expect("serializing to memory does not fail");
    let len = u32::try_from(out.len() - start - 4).expect("frames are far smaller");
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

/// Reads a frame into `frame`; false at the end of the stream. Memory grows with what arrives, not with what a length
/// promises.
pub fn read_frame(reader: &mut impl BufRead, frame: &mut Vec<u8>) -> io::Result<bool> {
    frame.clear();
    if reader.fill_buf()?.is_empty() {
        return Ok(false);
    }
    let mut len = [0; 4];
    reader.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > FRAME_BYTES_MAX {
        return Err(too_long(len));
    }
    match reader.take(len as u64).read_to_end(frame)? {
        read if read == len => Ok(true),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads a value that must be there.
pub fn read_value<'a, T: Deserialize<'a>>(reader: &mut impl BufRead, frame: &'a mut Vec<u8>) -> io::Result<T> {
    if !read_frame(reader, frame)? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    decode(frame).ok_or_else(|| invalid("a frame that makes no sense".into()))
}

pub fn too_long(frame: usize) -> io::Error {
    invalid(format!("a frame of {frame} bytes, where {FRAME_BYTES_MAX} are allowed"))
}

pub fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_end() {
        let put = Command::Put { session: 7, sequence: 300, key: b"k", value: &[9; 500] };
        let command = encode(&put);
        assert_eq!(Command::decode(&command), Some(put));
        let mut out = Vec::new();
        push_frame(&mut out, &Request::Command(&command));
        push_frame(&mut out, &Request::Status { checksum: true });
        let (mut reader, mut frame) = (&out[..], Vec::new());
        assert!(read_frame(&mut reader, &mut frame).unwrap());
        assert_eq!(decode(&frame), Some(Request::Command(&command)));
        assert!(read_frame(&mut reader, &mut frame).unwrap());
        assert_eq!(decode(&frame), Some(Request::Status { checksum: true }));
        assert!(!read_frame(&mut reader, &mut frame).unwrap());
    }

    #[test]
    fn hostile_frames_are_errors() {
        let mut frame = Vec::new();
        let kind = |bytes: &[u8], frame: &mut Vec<u8>| read_frame(&mut &*bytes, frame).unwrap_err().kind();
        assert_eq!(kind(&u32::MAX.to_le_bytes(), &mut frame), io::ErrorKind::InvalidData);
        let promised = [0, 0, 16, 0, 1, 2, 3];
        assert_eq!(kind(&promised, &mut frame), io::ErrorKind::UnexpectedEof);
        assert!(frame.capacity() < 4096, "memory for what arrived, not for what was promised");
        assert_eq!(kind(&[1, 0], &mut frame), io::ErrorKind::UnexpectedEof);
        assert_eq!(decode::<Request>(&[0, 200, 1]), None, "a command longer than its frame");
        let longer = [encode(&Command::Register), vec![0]].concat();
        assert_eq!(Command::decode(&longer), None, "bytes after the end");
        let large = encode(&Command::Get { key: &[0; KEY_BYTES_MAX + 1] });
        assert_eq!(Command::decode(&large), None, "a key beyond its limit");
    }
}
