//! The members as their parent has them. They end with it, however it ends: they are killed when they are dropped, and end
//! by themselves when nobody holds the other end of their input.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::member::{self, Driver};

pub(crate) const MEMBERS: usize = 3;
/// Only ever waited out by a test that fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Who waits for a line that begins with this word; nobody can once the process has ended.
type Waiting = Arc<Mutex<Option<HashMap<String, Sender<Vec<String>>>>>>;

/// One life of a member.
pub(crate) struct Process {
    driver: Driver,
    child: Mutex<Child>,
    input: Mutex<ChildStdin>,
    waiting: Waiting,
    address: String,
}

impl Process {
    fn start(driver: Driver, id: usize, dir: &Path, log: &Path) -> Process {
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", member::TEST, "--ignored", "--nocapture"]);
        command.env(member::DRIVER, driver.name()).env(member::ID, id.to_string()).env(member::DIR, dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, listens) = channel();
        let waiting = Waiting::new(Mutex::new(Some(HashMap::from([("listens".to_owned(), sender)]))));
        let heard = Arc::clone(&waiting);
        let mut process =
            Process { driver, child: Mutex::new(child), input: Mutex::new(input), waiting, address: String::new() };
        thread::spawn(move || hear(output, &heard));
        process.address = answer(&listens).expect("it starts").remove(0);
        process
    }

    /// Say `line`; what is received are the other words of the answer that begins with `key`.
    pub(crate) fn ask(&self, key: &str, line: &str) -> Receiver<Vec<String>> {
        let (sender, receiver) = channel();
        if let Some(waiting) = &mut *lock(&self.waiting) {
            waiting.insert(key.to_owned(), sender);
        }
        self.tell(line);
        receiver
    }

    /// Who is gone does not hear it.
    fn tell(&self, line: &str) {
        let _heard_or_not = writeln!(lock(&self.input), "{line}");
    }

    /// SIGKILL, and no goodbye.
    fn kill(&self) {
        let _gone_or_not = lock(&self.child).kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _end = lock(&self.child).wait();
    }
}

fn hear(output: ChildStdout, waiting: &Waiting) {
    // Said in the middle of a character is said in the middle of a death.
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let Some(said) = line.strip_prefix(member::MARK) else { continue };
        let mut words = said.split(' ').map(str::to_owned);
        let first = words.next().unwrap_or_default();
        if let Some(asked) = lock(waiting).as_mut().and_then(|waiting| waiting.remove(&first)) {
            let _wanted_or_not = asked.send(words.collect());
        }
    }
    *lock(waiting) = None;
}

/// `None` if it has ended without an answer.
pub(crate) fn answer(asked: &Receiver<Vec<String>>) -> Option<Vec<String>> {
    match asked.recv_timeout(PATIENCE) {
        Ok(words) => Some(words),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("a member lives and does not answer"),
    }
}

pub(crate) struct Processes {
    home: PathBuf,
    members: Mutex<[Option<Arc<Process>>; MEMBERS]>,
}

impl Processes {
    pub(crate) fn new(home: &Path) -> Processes {
        Processes { home: home.to_path_buf(), members: Mutex::default() }
    }

    /// Start a member on what its directory holds, by whichever driver; all living members are told where all listen.
    pub(crate) fn wake(&self, member: usize, driver: Driver) {
        let id = member + 1;
        let process = Arc::new(Process::start(driver, id, &self.home.join(id.to_string()), &self.log(id)));
        let mut members = lock(&self.members);
        members[member] = Some(Arc::clone(&process));
        for (other, id) in members.iter().zip(1..) {
            let Some(other) = other.as_ref().filter(|other| !Arc::ptr_eq(other, &process)) else { continue };
            process.tell(&format!("peer {id} {}", other.address));
            other.tell(&format!("peer {} {}", member + 1, process.address));
        }
    }

    fn log(&self, id: usize) -> PathBuf {
        self.home.join(format!("{id}.log"))
    }

    /// The member, if it has not been killed.
    pub(crate) fn member(&self, member: usize) -> Option<Arc<Process>> {
        lock(&self.members)[member].clone()
    }

    /// Kill these, at once; says what they were.
    pub(crate) fn kill(&self, who: &[usize]) -> Vec<Driver> {
        let processes: Vec<_> = who.iter().map(|member| lock(&self.members)[*member].take().unwrap()).collect();
        for process in &processes {
            let ended = lock(&process.child).try_wait().unwrap();
            assert_eq!(ended, None, "it has ended by itself");
        }
        processes.iter().for_each(|process| process.kill());
        // Their files and ports are free.
        for process in &processes {
            lock(&process.child).wait().unwrap();
        }
        processes.iter().map(|process| process.driver).collect()
    }

    /// What a living member has applied.
    pub(crate) fn ledger(&self, member: usize) -> Vec<String> {
        let process = self.member(member).expect("it lives");
        answer(&process.ask("ledger", "ledger")).expect("it lives")
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        for id in 1..=MEMBERS {
            println!("member {id} said: {}", fs::read_to_string(self.log(id)).unwrap_or_default());
        }
    }
}
