//! What `strace -f -xx` wrote, as calls with a beginning and an end.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A file below the watched directory: which server's, and its name; or a directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// In the data directory of this server.
    File { server: u64, name: String },
    /// The data directory itself.
    Data { server: u64 },
    /// A directory above.
    Above(PathBuf),
    /// What the process tells of acknowledgements.
    Acks,
}

#[derive(Clone, Debug)]
pub(crate) enum Call {
    Open {
        place: Place,
        creates: bool,
        fd: u32,
    },
    Close {
        fd: u32,
    },
    /// At an offset, or behind what was written before.
    Write {
        fd: u32,
        offset: Option<u64>,
        bytes: Vec<u8>,
    },
    Sync {
        fd: u32,
    },
    Rename {
        server: u64,
        from: String,
        to: String,
    },
    Remove {
        server: u64,
        name: String,
    },
    MakeDir(PathBuf),
    /// Something that the model of the disk does not know.
    Other {
        fd: u32,
        line: String,
    },
}

/// A call begins, or it has ended: the calls of different threads overlap.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    Begins(usize),
    Ends(usize),
}

pub(crate) struct Trace {
    pub(crate) calls: Vec<Call>,
    pub(crate) moments: Vec<Moment>,
}

pub(crate) fn parse(text: &str, root: &Path) -> Trace {
    let mut trace = Trace { calls: vec![], moments: vec![] };
    // For each thread, the call that it is in: its text so far, and where in `moments` it began.
    let mut open: HashMap<&str, (String, usize)> = HashMap::new();
    let mut began = HashMap::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(head) = rest.strip_suffix("<unfinished ...>") {
            open.insert(thread, (head.to_owned(), trace.moments.len()));
            trace.moments.push(Moment::Begins(usize::MAX));
            continue;
        }
        let (whole, at) = match rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            Some((_, tail)) => {
                let (head, at) = open.remove(thread).expect("a call that resumes has begun");
                (head + tail, at)
            }
            None => {
                trace.moments.push(Moment::Begins(usize::MAX));
                (rest.to_owned(), trace.moments.len() - 1)
            }
        };
        if let Some(call) = parse_call(&whole, root) {
            began.insert(at, trace.calls.len());
            trace.moments.push(Moment::Ends(trace.calls.len()));
            trace.calls.push(call);
        }
    }
    // What failed, or does not matter here, has left a beginning without a number.
    let moments = trace.moments.iter().enumerate().filter_map(|(at, moment)| match moment {
        Moment::Begins(_) => began.get(&at).map(|&call| Moment::Begins(call)),
        ends @ Moment::Ends(_) => Some(*ends),
    });
    trace.moments = moments.collect();
    trace
}

/// `name(arguments) = result`; nothing if it failed.
fn parse_call(line: &str, root: &Path) -> Option<Call> {
    let (name, rest) = line.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let result = u32::try_from(result.split_whitespace().next()?.parse::<i64>().ok()?).ok()?;
    let arguments: Vec<&str> = arguments.split(", ").map(str::trim).collect();
    let fd = || arguments.first()?.parse::<u32>().ok();
    let path = |at: usize| place(Path::new(&String::from_utf8(unescape(arguments.get(at)?)?).ok()?), root);
    let file = |at: usize| match path(at)? {
        Place::File { server, name } => Some((server, name)),
        _ => None,
    };
    let renamed = |from: usize, to: usize| {
        let ((server, from), (_, to)) = (file(from)?, file(to)?);
        Some(Call::Rename { server, from, to })
    };
    let removed = |at: usize| file(at).map(|(server, name)| Call::Remove { server, name });
    match name {
        "openat" => {
            let creates = arguments.get(2).is_some_and(|flags| flags.contains("O_CREAT"));
            Some(Call::Open { place: path(1)?, creates, fd: result })
        }
        "close" => Some(Call::Close { fd: fd()? }),
        "write" => Some(Call::Write { fd: fd()?, offset: None, bytes: written(&arguments, result)? }),
        "pwrite64" => {
            let offset = Some(arguments.get(3)?.parse().ok()?);
            Some(Call::Write { fd: fd()?, offset, bytes: written(&arguments, result)? })
        }
        "fsync" | "fdatasync" => Some(Call::Sync { fd: fd()? }),
        "rename" => renamed(0, 1),
        "renameat" | "renameat2" => renamed(1, 3),
        "unlink" => removed(0),
        "unlinkat" => removed(1),
        "mkdir" => Some(Call::MakeDir(match path(0)? {
            Place::Above(path) => path,
            Place::Data { server } => root.join(server.to_string()).join("data"),
            _ => return None,
        })),
        _ => Some(Call::Other { fd: fd()?, line: line.chars().take(200).collect() }),
    }
}

/// What a write that ended early has not written does not count.
fn written(arguments: &[&str], count: u32) -> Option<Vec<u8>> {
    let mut bytes = unescape(arguments.get(1)?)?;
    assert!(count as usize <= bytes.len(), "strace has shortened what was written");
    bytes.truncate(count as usize);
    Some(bytes)
}

/// `"\x41\x42"`.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix('"')?.strip_suffix('"')?;
    text.split("\\x").skip(1).map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
}

fn place(path: &Path, root: &Path) -> Option<Place> {
    let below = path.strip_prefix(root).ok()?;
    let parts: Vec<&str> = below.iter().filter_map(|part| part.to_str()).collect();
    match parts[..] {
        ["acks"] => Some(Place::Acks),
        [server, "data"] => Some(Place::Data { server: server.parse().ok()? }),
        [server, "data", name] => Some(Place::File { server: server.parse().ok()?, name: name.into() }),
        _ => Some(Place::Above(path.to_path_buf())),
    }
}
