//! The command line.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Error, Parser, ValueExt};

use crate::front::CONNECTIONS_MAX;
use crate::protocol::VALUE_BYTES_MAX;

pub const USAGE: &str = "\
A replicated key-value store.

  kv demo   [--keys N] [--value-bytes B] [--clients C] [--dir D] [--keep]
            Three servers, many writes, the leader killed in the middle: is anything lost?
            20,000 keys of 100 bytes from 16 clients; --keep leaves the files in D.

  kv bench  [--clients C] [--value-bytes B] [--seconds S] [--dir D] [--json]
            Closed-loop clients put values to the leader of three servers, every write synced.
            64 clients, 256 bytes, 5 seconds.

  kv serve  --id I --listen A --peer I=A ... --data D [--init] [--cluster N]
            [--snapshot-bytes B] [--trailing-entries N] [--exit-with-parent]
            Run server I. Each --peer names a server and its address, this one's too; peers and
            clients use the same address. --init makes D a member of the new cluster N (1) of these
            servers. It is for the first start of a new cluster only. Never bring back a member that lost
            its directory with it: it has forgotten its votes and acknowledged writes, and others may lose
            theirs. After B bytes of log (64 MiB) a snapshot takes their place, and N (4096)
            entries stay behind it. --exit-with-parent ends the server when its standard input closes.

  kv put    KEY VALUE --server A ... [--timeout SECONDS]     VALUE - is read from standard input
  kv get    KEY --server A ... [--timeout SECONDS] [--local]
            A get goes through the log, like a put, and sees every write acknowledged before it.
            --local asks the first server alone for what it has applied, which may be old.
  kv delete KEY --server A ... [--timeout SECONDS]
  kv status --server A ... [--checksum]
            --checksum adds one of all keys and values: each server looks at every byte.
            Any server will do, it knows who leads; several are tried in turn. The timeout is 10 s.

  kv help

Exit code: 0 done, 1 failed (also: no such key), 2 not understood.
";

pub enum Invocation {
    Help,
    Demo(DemoOptions),
    Bench(BenchOptions),
    Serve(ServeOptions),
    Client(ClientOptions),
}

pub struct DemoOptions {
    pub keys: usize,
    pub value_bytes: usize,
    pub clients: usize,
    /// Where the servers keep their data; a directory of its own among the temporary files if not given.
    pub dir: Option<PathBuf>,
    pub keep: bool,
}

pub struct BenchOptions {
    pub clients: usize,
    pub value_bytes: usize,
    pub seconds: usize,
    pub dir: Option<PathBuf>,
    pub json: bool,
}

pub struct ServeOptions {
    pub id: u64,
    pub listen: String,
    pub peers: Vec<(u64, String)>,
    pub data: PathBuf,
    pub cluster: u64,
    pub init: bool,
    pub snapshot_bytes: u64,
    pub trailing_entries: u64,
    pub exit_with_parent: bool,
}

pub struct ClientOptions {
    pub operation: Operation,
    pub servers: Vec<String>,
    pub timeout: Duration,
}

pub enum Operation {
    /// `None`: the value comes from standard input.
    Put {
        key: Vec<u8>,
        value: Option<Vec<u8>>,
    },
    Get {
        key: Vec<u8>,
        local: bool,
    },
    Delete {
        key: Vec<u8>,
    },
    Status {
        checksum: bool,
    },
}

pub fn parse(mut parser: Parser) -> Result<Invocation, Error> {
    let command = match parser.next()? {
        None | Some(Arg::Long("help") | Arg::Short('h')) => return Ok(Invocation::Help),
        Some(Arg::Value(command)) => command.string()?,
        Some(other) => return Err(other.unexpected()),
    };
    match command.as_str() {
        "help" => Ok(Invocation::Help),
        "demo" => demo(parser),
        "bench" => bench(parser),
        "serve" => serve(parser),
        "put" | "get" | "delete" | "status" => client(&command, parser),
        _ => Err(format!("unknown command '{command}'").into()),
    }
}

fn demo(mut parser: Parser) -> Result<Invocation, Error> {
    let mut options = DemoOptions { keys: 20_000, value_bytes: 100, clients: 16, dir: None, keep: false };
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("keys") => options.keys = number(&mut parser, 1..=10_000_000)?,
            Arg::Long("value-bytes") => options.value_bytes = value_bytes(&mut parser)?,
            Arg::Long("clients") => options.clients = clients(&mut parser)?,
            Arg::Long("dir") => options.dir = Some(parser.value()?.into()),
            Arg::Long("keep") => options.keep = true,
            other => return Err(other.unexpected()),
        }
    }
    Ok(Invocation::Demo(options))
}

fn bench(mut parser: Parser) -> Result<Invocation, Error> {
    let mut options = BenchOptions { clients: 64, value_bytes: 256, seconds: 5, dir: None, json: false };
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("clients") => options.clients = clients(&mut parser)?,
            Arg::Long("value-bytes") => options.value_bytes = value_bytes(&mut parser)?,
            Arg::Long("seconds") => options.seconds = number(&mut parser, 1..=3600)?,
            Arg::Long("dir") => options.dir = Some(parser.value()?.into()),
            Arg::Long("json") => options.json = true,
            other => return Err(other.unexpected()),
        }
    }
    Ok(Invocation::Bench(options))
}

fn serve(mut parser: Parser) -> Result<Invocation, Error> {
    let (mut id, mut listen, mut data) = (None, None, None);
    let mut options = ServeOptions {
        id: 0,
        listen: String::new(),
        peers: Vec::new(),
        data: PathBuf::new(),
        cluster: 1,
        init: false,
        snapshot_bytes: 64 << 20,
        trailing_entries: 4096,
        exit_with_parent: false,
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("id") => id = Some(parser.value()?.parse()?),
            Arg::Long("listen") => listen = Some(parser.value()?.parse_with(address)?),
            Arg::Long("peer") => options.peers.push(parser.value()?.parse_with(peer)?),
            Arg::Long("data") => data = Some(parser.value()?.into()),
            Arg::Long("cluster") => options.cluster = parser.value()?.parse()?,
            Arg::Long("init") => options.init = true,
            Arg::Long("snapshot-bytes") => options.snapshot_bytes = parser.value()?.parse()?,
            Arg::Long("trailing-entries") => options.trailing_entries = parser.value()?.parse()?,
            Arg::Long("exit-with-parent") => options.exit_with_parent = true,
            other => return Err(other.unexpected()),
        }
    }
    options.id = id.ok_or("serve needs --id")?;
    options.listen = listen.ok_or("serve needs --listen")?;
    options.data = data.ok_or("serve needs --data")?;
    check_peers(&options)?;
    Ok(Invocation::Serve(options))
}

fn check_peers(options: &ServeOptions) -> Result<(), Error> {
    let ServeOptions { id, listen, peers, .. } = options;
    if !peers.iter().any(|(peer, _)| peer == id) {
        return Err(format!("the peer list lacks this server: add --peer {id}={listen}").into());
    }
    let mut ids: Vec<u64> = peers.iter().map(|(peer, _)| *peer).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(format!("the peer list names server {} twice", twice[0]).into()),
        None => Ok(()),
    }
}

fn client(command: &str, mut parser: Parser) -> Result<Invocation, Error> {
    let (mut words, mut servers, mut timeout) = (Vec::new(), Vec::new(), 10);
    let (mut local, mut checksum) = (false, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("server") => servers.push(parser.value()?.parse_with(address)?),
            Arg::Long("timeout") if command != "status" => timeout = number(&mut parser, 1..=3600)?,
            Arg::Long("checksum") if command == "status" => checksum = true,
            Arg::Long("local") if command == "get" => local = true,
            Arg::Value(word) => words.push(bytes(word)),
            other => return Err(other.unexpected()),
        }
    }
    if servers.is_empty() {
        return Err(format!("{command} needs --server").into());
    }
    let mut words = words.into_iter();
    let operation = match (command, words.next(), words.next(), words.next()) {
        ("put", Some(key), Some(value), None) => {
            Operation::Put { key, value: if value == b"-" { None } else { Some(value) } }
        }
        ("get", Some(key), None, None) => Operation::Get { key, local },
        ("delete", Some(key), None, None) => Operation::Delete { key },
        ("status", None, None, None) => Operation::Status { checksum },
        ("put", ..) => return Err("put takes KEY and VALUE".into()),
        ("status", ..) => return Err("status takes no KEY".into()),
        _ => return Err(format!("{command} takes one KEY").into()),
    };
    Ok(Invocation::Client(ClientOptions { operation, servers, timeout: Duration::from_secs(timeout as u64) }))
}

fn bytes(word: OsString) -> Vec<u8> {
    word.into_encoded_bytes()
}

fn peer(text: &str) -> Result<(u64, String), String> {
    let (id, at) = text.split_once('=').ok_or("a peer is ID=ADDRESS, like 1=127.0.0.1:7001")?;
    let id = id.parse().map_err(|_| format!("'{id}' is not a server's number"))?;
    Ok((id, address(at)?))
}

fn address(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err(format!("'{text}' is not an address, like 127.0.0.1:7001")),
    }
}

fn number(parser: &mut Parser, range: RangeInclusive<usize>) -> Result<usize, Error> {
    parser.value()?.parse_with(|text| match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("'{text}' is not a number from {} to {}", range.start(), range.end())),
    })
}

fn clients(parser: &mut Parser) -> Result<usize, Error> {
    number(parser, 1..=CONNECTIONS_MAX / 2)
}

fn value_bytes(parser: &mut Parser) -> Result<usize, Error> {
    number(parser, 0..=VALUE_BYTES_MAX)
}
