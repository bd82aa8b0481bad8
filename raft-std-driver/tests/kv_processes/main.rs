//! The example `kv` as users see it: real processes, real files, real SIGKILLs.
#![allow(dead_code, unreachable_pub)]

#[path = "../../examples/kv/client.rs"]
mod client;
#[path = "../../examples/kv/cluster.rs"]
mod cluster;
#[path = "../../examples/kv/protocol.rs"]
mod protocol;
#[path = "../../examples/kv/stop.rs"]
mod stop;

mod commands;
mod demo;
mod kills;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The example's executable, which `cargo test` builds beside the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("examples").join("kv").with_extension(EXTENSION);
    assert!(program.exists(), "{} is missing: cargo build -p raft-std-driver --example kv", program.display());
    program
}

const EXTENSION: &str = std::env::consts::EXE_EXTENSION;

/// A running `kv`, killed when it is dropped.
struct Kv {
    process: Child,
    began: Instant,
}

impl Kv {
    fn start(arguments: &[&str]) -> Kv {
        let mut command = Command::new(program());
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Kv { began: Instant::now(), process: command.spawn().unwrap() }
    }

    /// Waits until it ends by itself.
    fn finish(self) -> Finished {
        self.finish_with(&[])
    }

    fn finish_with(mut self, input: &[u8]) -> Finished {
        // It may end before it has read everything.
        let _ = self.process.stdin.take().unwrap().write_all(input);
        let (mut out, mut err) = (self.process.stdout.take().unwrap(), self.process.stderr.take().unwrap());
        let read_err = thread::spawn(move || {
            let mut text = Vec::new();
            err.read_to_end(&mut text).map(|_| text)
        });
        let mut output = Output { status: Default::default(), stdout: Vec::new(), stderr: Vec::new() };
        out.read_to_end(&mut output.stdout).unwrap();
        output.stderr = read_err.join().unwrap().unwrap();
        output.status = self.process.wait().unwrap();
        Finished {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
            took: self.began.elapsed(),
        }
    }

    /// How it has ended, and what it said, if it has.
    fn ended(&mut self) -> Option<String> {
        let status = self.process.try_wait().unwrap()?;
        let mut said = String::new();
        self.process.stderr.take()?.read_to_string(&mut said).unwrap();
        Some(format!("{status}: {said}"))
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.process.id().to_string()).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Kv {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug)]
struct Finished {
    code: Option<i32>,
    out: String,
    err: String,
    took: Duration,
}

impl Finished {
    #[track_caller]
    fn assert_fails(&self, code: i32, says: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.contains(says), "it should say {says:?}: {self:?}");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn kv(arguments: &[&str]) -> Finished {
    Kv::start(arguments).finish()
}

/// An address at which nobody listens.
fn free_address() -> String {
    cluster::free_addresses(1).unwrap().remove(0)
}

fn listens(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}

/// Polls until `done`, for a time in which a slow machine does it too.
#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
