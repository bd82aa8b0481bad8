//! Three servers as child processes, for the demo and the bench. Whatever happens, they end with it, and their files go.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::client;
use crate::protocol::Status;
use crate::stop::{Failure, Interrupted, Stop};

const SERVERS: usize = 3;
/// How long an election or a restart may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(10);
/// Below the ports that systems hand out by themselves: while a server is down, no connection of anybody's takes its port.
const PORTS: std::ops::Range<u16> = 10_000..30_000;

/// How to start one.
pub struct Options {
    /// The executable that has the command `serve`.
    pub program: PathBuf,
    /// Where the servers keep their data; a new directory among the temporary files if not given.
    pub dir: Option<PathBuf>,
    /// Whether their files stay.
    pub keep: bool,
    /// What else each server is told.
    pub arguments: Vec<String>,
}

impl Options {
    /// Servers of this program, at this place.
    pub fn new(dir: Option<PathBuf>) -> io::Result<Options> {
        Ok(Options { program: std::env::current_exe()?, dir, keep: false, arguments: Vec::new() })
    }
}

pub struct Cluster {
    options: Options,
    members: Vec<Member>,
    /// Told to the servers, so that they never mix with those of another cluster.
    id: u64,
    dir: PathBuf,
    dir_is_ours: bool,
}

struct Member {
    id: u64,
    address: String,
    process: Option<Child>,
}

impl Cluster {
    /// Starts the servers of a new cluster.
    pub fn start(options: Options) -> Result<Cluster, Failure> {
        let id = fastrand::u64(..);
        let temporary = || std::env::temp_dir().join(format!("raft-kv-{id:016x}"));
        let dir = options.dir.clone().unwrap_or_else(temporary);
        let members = free_addresses(SERVERS)?.into_iter().zip(1..);
        let members: Vec<_> = members.map(|(address, id)| Member { id, address, process: None }).collect();
        if let Some(taken) = members.iter().map(|member| data_of(&dir, member)).find(|data| data.exists()) {
            return Err(format!("{} is there already: remove it, or choose another --dir", taken.display()).into());
        }
        let dir_is_ours = !dir.exists();
        fs::create_dir_all(&dir).map_err(|error| format!("cannot create {}: {error}", dir.display()))?;
        let mut cluster = Cluster { options, members, id, dir, dir_is_ours };
        for id in 1..=SERVERS as u64 {
            cluster.spawn(id, true)?;
        }
        Ok(cluster)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn addresses(&self) -> Vec<String> {
        self.members.iter().map(|member| member.address.clone()).collect()
    }

    pub fn address_of(&self, id: u64) -> Result<String, Failure> {
        let member = self.members.iter().find(|member| member.id == id);
        Ok(member.map(|member| member.address.clone()).ok_or("there is no such server")?)
    }

    fn spawn(&mut self, id: u64, init: bool) -> Result<(), Failure> {
        let peers: Vec<_> =
            self.members.iter().map(|member| format!("--peer={}={}", member.id, member.address)).collect();
        let (options, dir, cluster) = (&self.options, &self.dir, self.id);
        let Some(member) = self.members.iter_mut().find(|member| member.id == id) else {
            return Err(format!("there is no server {id}").into());
        };
        let log = File::options().create(true).append(true).open(log_of(dir, member))?;
        let mut command = Command::new(&options.program);
        command.arg("serve").args(peers);
        command.arg("--id").arg(id.to_string()).arg("--listen").arg(&member.address);
        command.arg("--data").arg(data_of(dir, member)).arg("--cluster").arg(cluster.to_string());
        command.args(init.then_some("--init")).arg("--exit-with-parent").args(&options.arguments);
        // The pipe closes when this process ends, however it ends; and a Ctrl-C is for this process alone.
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        member.process = Some(command.spawn()?);
        Ok(())
    }

    /// Ends a server as a power failure would: SIGKILL, no goodbye.
    pub fn kill(&mut self, id: u64) -> Result<(), Failure> {
        for member in self.members.iter_mut().filter(|member| member.id == id) {
            if let Some(mut process) = member.process.take() {
                process.kill()?;
                process.wait()?;
            }
        }
        Ok(())
    }

    pub fn restart(&mut self, id: u64) -> Result<(), Failure> {
        self.spawn(id, false)
    }

    /// How each server that answers sees itself.
    pub fn statuses(&self, checksum: bool) -> Vec<Status> {
        self.members.iter().filter_map(|member| client::status(&member.address, checksum).ok()).collect()
    }

    /// Waits until `done` likes what the servers say of themselves.
    pub fn wait_until<T>(
        &mut self,
        what: &str,
        checksum: bool,
        stop: &Stop,
        done: impl Fn(&[Status]) -> Option<T>,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        loop {
            let statuses = self.statuses(checksum);
            if let Some(result) = done(&statuses) {
                return Ok(result);
            }
            if stop.is_set() {
                return Err(Interrupted.into());
            }
            self.check_alive()?;
            if began.elapsed() > PATIENCE {
                return Err(format!("{what} after {} s; at last: {statuses:?}", PATIENCE.as_secs()).into());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits for a leader that at least one other server knows, and that has applied its first entry.
    pub fn wait_for_leader(&mut self, stop: &Stop) -> Result<u64, Failure> {
        self.wait_until("no leader", false, stop, |statuses| {
            let leader = statuses.iter().max_by_key(|status| status.term)?.leader?;
            (statuses.iter().filter(|status| status.leader == Some(leader)).count() > 1).then_some(leader)
        })
    }

    /// Waits until all have applied the same; what that is.
    pub fn wait_for_agreement(&mut self, stop: &Stop) -> Result<Status, Failure> {
        self.wait_until("the servers do not agree", true, stop, |statuses| {
            let first = statuses.first()?;
            let same = |status: &Status| (status.applied, status.checksum) == (first.applied, first.checksum);
            (statuses.len() == SERVERS && statuses.iter().all(same)).then(|| first.clone())
        })
    }

    /// An error if a server has ended by itself, with its last words.
    pub fn check_alive(&mut self) -> Result<(), Failure> {
        for member in &mut self.members {
            if let Some(status) = member.process.as_mut().map(Child::try_wait).transpose()?.flatten() {
                let log = fs::read_to_string(log_of(&self.dir, member)).unwrap_or_default();
                let words = log.lines().last().unwrap_or("it said nothing");
                return Err(format!("server {} has ended ({status}): {words}", member.id).into());
            }
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.members.iter_mut().filter_map(|member| member.process.as_mut()) {
            let _ = process.kill();
        }
        for process in self.members.iter_mut().filter_map(|member| member.process.as_mut()) {
            let _ = process.wait();
        }
        if self.options.keep {
            return;
        }
        for member in &self.members {
            let _ = fs::remove_dir_all(data_of(&self.dir, member));
            let _ = fs::remove_file(log_of(&self.dir, member));
        }
        if self.dir_is_ours {
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

fn data_of(dir: &Path, member: &Member) -> PathBuf {
    dir.join(format!("server-{}", member.id))
}

fn log_of(dir: &Path, member: &Member) -> PathBuf {
    dir.join(format!("server-{}.log", member.id))
}

/// Addresses on this machine at which nobody listens now.
pub fn free_addresses(count: usize) -> io::Result<Vec<String>> {
    // From anywhere on, one after the other: whoever was given one may not listen there yet, and nobody else of this program
    // is given the same.
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(fastrand::u32(..)));
    let mut held: Vec<TcpListener> = Vec::new();
    while held.len() < count {
        let place = NEXT.fetch_add(1, Ordering::Relaxed) % u32::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(place).map_err(io::Error::other)?;
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => held.push(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    held.iter().map(|held| Ok(held.local_addr()?.to_string())).collect()
}
