//! A replicated key-value store on raft-core and raft-std-driver: a server, its client, a demo and a bench.
//!
//! Where Raft is: `server.rs` starts a [`Node`](raft_std_driver::Node) and hands it commands, `machine.rs` is the state
//! machine behind the log. The rest is a protocol, a client that finds the leader, and child processes.

// `pub` marks what other files use; nothing leaves a program.
#![allow(unreachable_pub)]

mod args;
mod bench;
mod client;
mod cluster;
mod demo;
mod front;
mod link;
mod load;
mod machine;
mod progress;
mod protocol;
mod server;
mod stop;

use std::io::{Read, Write};
use std::process::ExitCode;
use std::{fmt, io};

use args::{ClientOptions, Invocation, Operation};
use client::Client;
use protocol::{Status, VALUE_BYTES_MAX};
use stop::{Failure, Interrupted, Stop};

fn main() -> ExitCode {
    let invocation = match args::parse(lexopt::Parser::from_env()) {
        Ok(invocation) => invocation,
        Err(error) => {
            eprintln!("kv: {error}\nkv help shows what there is");
            return ExitCode::from(2);
        }
    };
    match run(invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("kv: {failure}");
            ExitCode::from(if failure.is::<Interrupted>() { 130 } else { 1 })
        }
    }
}

fn run(invocation: Invocation) -> Result<(), Failure> {
    match invocation {
        Invocation::Help => Ok(write!(io::stdout(), "{}", args::USAGE)?),
        Invocation::Demo(options) => demo::run(&options, &stop_on_signal()?),
        Invocation::Bench(options) => bench::run(&options, &stop_on_signal()?),
        Invocation::Serve(options) => server::run(&options),
        Invocation::Client(options) => run_client(options),
    }
}

/// Set by Ctrl-C and by a request to terminate.
fn stop_on_signal() -> Result<Stop, Failure> {
    let stop = Stop::default();
    let told = stop.clone();
    ctrlc::set_handler(move || told.set())?;
    Ok(stop)
}

fn run_client(options: ClientOptions) -> Result<(), Failure> {
    let ClientOptions { operation, servers, timeout } = options;
    if let Operation::Status { checksum } = operation {
        return print_statuses(&servers, checksum);
    }
    let mut client = Client::new(servers.clone(), timeout, Stop::default());
    match operation {
        Operation::Put { key, value } => {
            let value = value.map_or_else(value_from_stdin, Ok)?;
            client.put(&key, &value)?;
        }
        Operation::Get { key, local } => {
            let value = if local { client::peek(&servers[0], &key)? } else { client.get(&key)? };
            let value = value.ok_or("no such key")?;
            let mut out = io::stdout().lock();
            out.write_all(&value)?;
            out.write_all(b"\n")?;
        }
        Operation::Delete { key } => {
            if !client.delete(&key)? {
                return Err("no such key".into());
            }
        }
        Operation::Status { .. } => {}
    }
    Ok(())
}

fn value_from_stdin() -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    // One byte more than fits is enough to see that it is too large.
    io::stdin().lock().take(VALUE_BYTES_MAX as u64 + 1).read_to_end(&mut value)?;
    Ok(value)
}

/// One line for each server, in the order they were named.
fn print_statuses(servers: &[String], checksum: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let mut reached = 0;
    for server in servers {
        match client::status(server, checksum) {
            Ok(status) => {
                reached += 1;
                writeln!(out, "{server} {status}")?;
            }
            Err(error) => writeln!(out, "{server} cannot be reached: {error}")?,
        }
    }
    if reached == 0 { Err("no server can be reached".into()) } else { Ok(()) }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status { id, role, term, leader, commit, last, applied, keys, checksum } = self;
        write!(f, "server {id}: {role} in term {term}")?;
        match leader {
            Some(leader) => write!(f, ", leader {leader}")?,
            None => f.write_str(", no leader")?,
        }
        write!(f, ", log {last}, commit {commit}, applied {applied}, {keys} keys")?;
        checksum.map_or(Ok(()), |checksum| write!(f, ", checksum {checksum:016x}"))
    }
}
