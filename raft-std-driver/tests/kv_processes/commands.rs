//! Each command, and what it says when it cannot be done.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::client::Connection;
use crate::cluster::{Cluster, Options};
use crate::protocol::{self, Command, FRAME_BYTES_MAX, GREETING, KEY_BYTES_MAX, Request, Response, VALUE_BYTES_MAX};
use crate::stop::Stop;
use crate::{Kv, client, free_address, kv, program, wait_until};

/// A cluster of one server.
struct Lone {
    address: String,
    peer: String,
    data: String,
    server: Kv,
}

impl Lone {
    fn start(dir: &Path) -> Lone {
        let address = free_address();
        let (peer, data) = (format!("1={address}"), dir.join("lone").to_str().unwrap().to_owned());
        let server = serve(&address, &peer, &data, &["--init"]);
        Lone { address, peer, data, server }
    }

    fn serve_again(&mut self) {
        self.server = serve(&self.address, &self.peer, &self.data, &[]);
    }
}

fn serve(address: &str, peer: &str, data: &str, more: &[&str]) -> Kv {
    let all = [&["serve", "--id", "1", "--listen", address, "--peer", peer, "--data", data], more].concat();
    let server = Kv::start(&all);
    wait_until("the server stands", || client::status(address, false).is_ok());
    server
}

#[test]
fn put_get_delete_status() {
    let dir = tempfile::tempdir().unwrap();
    let mut lone = Lone::start(dir.path());
    let address = lone.address.clone();
    let at = ["--server", &address];
    let run = |words: &[&str]| kv(&[words, &at].concat());

    wait_until("its first entry is applied", || run(&["status"]).out.contains("commit 1, applied 1, 0 keys\n"));
    run(&["get", "color"]).assert_fails(1, "no such key");
    assert_eq!(run(&["put", "color", "deep blue"]).code, Some(0));
    assert_eq!(run(&["get", "color"]).out, "deep blue\n");
    assert_eq!(run(&["get", "color", "--local"]).out, "deep blue\n");
    let value = vec![b'x'; VALUE_BYTES_MAX];
    let put = Kv::start(&[&["put", "large", "-"], &at[..]].concat()).finish_with(&value);
    assert_eq!(put.code, Some(0), "the largest value: {put:?}");
    assert_eq!(run(&["get", "large"]).out.len(), VALUE_BYTES_MAX + 1);
    let status = run(&["status"]);
    assert!(status.out.contains("server 1: leader in term 1") && status.out.contains("2 keys\n"), "{status:?}");
    let status = run(&["status", "--checksum"]);
    assert!(status.out.contains("2 keys, checksum "), "{status:?}");

    lone.server.signal("TERM");
    assert_eq!(lone.server.process.wait().unwrap().code(), Some(0), "a server that is told to end ends well");
    lone.serve_again();
    assert_eq!(run(&["get", "color"]).out, "deep blue\n", "after a restart");
    assert_eq!(run(&["delete", "color"]).code, Some(0));
    run(&["delete", "color"]).assert_fails(1, "no such key");
    run(&["get", "color"]).assert_fails(1, "no such key");
}

#[test]
fn any_member_will_do() {
    let dir = tempfile::tempdir().unwrap();
    let dir = Some(dir.path().join("cluster"));
    let mut cluster = Cluster::start(Options { program: program(), dir, keep: false, arguments: Vec::new() }).unwrap();
    cluster.wait_for_leader(&Stop::default()).unwrap();
    for server in cluster.addresses() {
        assert_eq!(kv(&["put", &server, "was here", "--server", &server]).code, Some(0));
        for other in cluster.addresses() {
            assert_eq!(kv(&["get", &server, "--server", &other]).out, "was here\n");
        }
    }
    let addresses = cluster.addresses();
    let dead = free_address();
    let status = kv(&["status", "--server", &addresses[0], "--server", &dead, "--server", &addresses[2]]);
    assert_eq!((status.code, status.out.lines().count()), (Some(0), 3), "{status:?}");
    assert!(status.out.contains(&format!("{dead} cannot be reached")), "{status:?}");
}

#[test]
fn what_is_not_understood() {
    kv(&["fly"]).assert_fails(2, "unknown command 'fly'");
    kv(&["--fly"]).assert_fails(2, "--fly");
    kv(&["demo", "--fly"]).assert_fails(2, "--fly");
    kv(&["demo", "--keys", "many"]).assert_fails(2, "'many' is not a number");
    kv(&["bench", "--clients", "0"]).assert_fails(2, "'0' is not a number from 1");
    kv(&["put", "key", "--server", "a:1"]).assert_fails(2, "put takes KEY and VALUE");
    kv(&["get", "key"]).assert_fails(2, "get needs --server");
    kv(&["get", "key", "--server", "here"]).assert_fails(2, "'here' is not an address");
    kv(&["status", "key", "--server", "a:1"]).assert_fails(2, "status takes no KEY");
    kv(&["put", "key", "value", "--server", "a:1", "--local"]).assert_fails(2, "--local");
    let serve = ["serve", "--id", "3", "--listen", "127.0.0.1:1", "--data", "never-made"];
    let with = |more: &[&str]| kv(&[&serve, more].concat());
    with(&["--peer", "1=127.0.0.1:2"]).assert_fails(2, "the peer list lacks this server: add --peer 3=127.0.0.1:1");
    with(&["--peer", "3=127.0.0.1:1", "--peer", "3=127.0.0.1:2"]).assert_fails(2, "server 3 twice");
    with(&["--peer", "3"]).assert_fails(2, "a peer is ID=ADDRESS");
    kv(&["serve", "--listen", "127.0.0.1:1"]).assert_fails(2, "serve needs --id");
    for help in [&["help"][..], &["--help"], &[]] {
        let help = kv(help);
        assert!(help.code == Some(0) && help.out.contains("kv serve"), "{help:?}");
    }
}

#[test]
fn what_a_server_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let lone = Lone::start(dir.path());
    let empty = dir.path().join("empty");
    let serve = |listen: &str, data: &str, more: &[&str]| {
        let peer = format!("1={listen}");
        kv(&[&["serve", "--id", "1", "--listen", listen, "--peer", &peer, "--data", data], more].concat())
    };
    serve(&free_address(), empty.to_str().unwrap(), &[]).assert_fails(1, "start once with --init");
    assert!(!empty.exists(), "a server that may not start makes no directory");
    serve(&free_address(), &lone.data, &[]).assert_fails(1, "in use by another process");
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    serve(&taken.to_string(), empty.to_str().unwrap(), &["--init"]).assert_fails(1, "cannot listen on 127.0.0.1:");
    assert!(!empty.exists(), "a server that cannot listen makes no member");
    let Lone { data, server, .. } = lone;
    drop(server);
    serve(&free_address(), &data, &["--init"]).assert_fails(1, "already belongs to a server: start it without --init");
    serve(&free_address(), &data, &["--cluster", "7"]).assert_fails(1, "belongs to cluster 1, not to cluster 7");
}

#[test]
fn what_a_client_hears() {
    // Picked anew each time, so that nobody else has come to listen there.
    let put = kv(&["put", "key", "value", "--server", &free_address(), "--timeout", "1"]);
    put.assert_fails(1, "the cluster cannot be reached: gave up after 1 s");
    assert!(put.took >= Duration::from_secs(1), "{put:?}");
    let large =
        Kv::start(&["put", "key", "-", "--server", &free_address()]).finish_with(&vec![b'x'; VALUE_BYTES_MAX + 1]);
    large.assert_fails(1, "the value is too large");
    kv(&["get", &"k".repeat(KEY_BYTES_MAX + 1), "--server", &free_address()]).assert_fails(1, "the key is too large");
    kv(&["status", "--server", &free_address()]).assert_fails(1, "no server can be reached");
}

#[test]
fn two_of_three_dead_is_a_deadline_not_a_hang() {
    let dir = tempfile::tempdir().unwrap();
    let dir = Some(dir.path().join("cluster"));
    let mut cluster = Cluster::start(Options { program: program(), dir, keep: false, arguments: Vec::new() }).unwrap();
    let leader = cluster.wait_for_leader(&Stop::default()).unwrap();
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.kill(id).unwrap();
    }
    let left = cluster.address_of(leader).unwrap();
    let put = kv(&["put", "key", "value", "--server", &left, "--timeout", "2"]);
    put.assert_fails(1, "the cluster cannot be reached: gave up after 2 s");
}

fn header(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap().to_le_bytes()
}

#[test]
fn hostile_bytes_hang_up_and_harm_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut lone = Lone::start(dir.path());
    let too_long = [&GREETING[..], &header(FRAME_BYTES_MAX + 1)].concat();
    let nonsense = [&GREETING[..], &[5, 0, 0, 0], b"\xff\xff\xff\xff\xff"].concat();
    let empty = [&GREETING[..], &[0, 0, 0, 0]].concat();
    let lies = [&GREETING[..], &[4, 0, 0, 0], &[0, 200, 255, 1]].concat();
    for bytes in [b"GET / HTTP/1.1\r\n\r\n", &too_long[..], &nonsense, &empty, &lies, b"raft-kv2 from the future"] {
        let mut stream = TcpStream::connect(&lone.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        // A reset is as good as an end: it had more to read.
        let heard = stream.read(&mut [0; 64]);
        assert!(
            matches!(&heard, Ok(0)) || heard.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
        );
    }
    // Somebody promises a long frame and says no more; another one hangs up in the middle.
    let mut silent = TcpStream::connect(&lone.address).unwrap();
    silent.write_all(&[&GREETING[..], &header(FRAME_BYTES_MAX), &[0; 100]].concat()).unwrap();
    assert_eq!(kv(&["put", "key", "value", "--server", &lone.address]).code, Some(0));
    assert_eq!(lone.server.ended(), None, "the server lives");
    drop(silent);
}

/// Those who ask for much and read nothing cost a server little memory; who reads on gets every answer.
#[test]
#[cfg(target_os = "linux")]
fn unread_answers_do_not_pile_up() {
    const REQUESTS: usize = 256;
    let dir = tempfile::tempdir().unwrap();
    let lone = Lone::start(dir.path());
    let put = Kv::start(&["put", "k", "-", "--server", &lone.address]).finish_with(&[b'x'; VALUE_BYTES_MAX]);
    assert_eq!(put.code, Some(0), "{put:?}");
    let get = protocol::encode(&Command::Get { key: b"k" });
    for request in [Request::Peek { key: b"k" }, Request::Command(&get)] {
        let ask = || {
            let mut connection = Connection::open(&lone.address).unwrap();
            (0..REQUESTS).for_each(|_| connection.push(&request));
            connection.flush().unwrap();
            // All came at once: with the first answer under way, the server has begun with as many as it will.
            connection.receive().unwrap();
            connection
        };
        let mut greedy: Vec<_> = (0..4).map(|_| ask()).collect();
        let peak = peak_memory_bytes(&lone.server);
        assert!(peak < 200 << 20, "{peak} bytes after {request:?}");
        for _ in 1..REQUESTS {
            let large = match greedy[0].receive().unwrap() {
                Response::Peeked(value) => value.map_or(0, <[u8]>::len),
                Response::Applied(answer) => answer.len(),
                other => panic!("{other:?}"),
            };
            assert!(large >= VALUE_BYTES_MAX);
        }
    }
}

#[cfg(target_os = "linux")]
fn peak_memory_bytes(server: &Kv) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")).unwrap();
    peak.trim().parse::<usize>().unwrap() << 10
}
