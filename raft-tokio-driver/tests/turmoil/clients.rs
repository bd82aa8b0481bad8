//! Clients: each puts commands of its own through whoever leads, and remembers what it hears. Their host never fails, so
//! that they hear even of the deaths of servers.

use std::time::Duration;

use raft_std_driver::raft_core::NodeId;
use tokio::time::{sleep, timeout};

use crate::lab::Lab;
use crate::machine::{command, outcome};
use crate::oracle::outcomes::Known;

pub(crate) const COUNT: usize = 5;
/// So many writes each client wants to see acknowledged after all faults have ended.
const LAST_WRITES: u32 = 3;

pub(crate) struct Client {
    pub(crate) me: usize,
    pub(crate) hosts: usize,
    pub(crate) lab: Lab,
    pub(crate) random: fastrand::Rng,
}

impl Client {
    /// Until the faults are over and the last writes are acknowledged.
    pub(crate) async fn run(mut self) {
        let (mut server, mut last_writes) = (0, 0);
        while last_writes < LAST_WRITES {
            sleep(Duration::from_millis(self.random.u64(0..40))).await;
            let Some(node) = self.lab.node(server) else {
                server = self.random.usize(0..self.hosts);
                continue;
            };
            let healed = self.lab.state().healed;
            let count = if self.random.bool() { 1 } else { self.random.usize(2..6) };
            let numbers: Vec<u64> = (0..count).map(|_| self.lab.state().oracles.start()).collect();
            self.lab.say(format_args!("c{}", self.me), format_args!("starts {numbers:?} at s{}", server + 1));
            let commands: Vec<_> = numbers.iter().map(|id| command(*id, self.random.usize(0..60))).collect();
            let answers = node.start_all(commands);
            let patience = if self.random.u8(..) < 64 { self.random.u64(1..400) } else { u64::MAX >> 20 };
            let Ok(answers) = timeout(Duration::from_millis(patience), answers).await else {
                numbers.iter().for_each(|id| self.hear(*id, Known::GivenUp));
                continue;
            };
            let mut leader = None;
            for (number, answer) in numbers.into_iter().zip(answers) {
                match answer {
                    Ok(answer) => {
                        self.hear(number, outcome(&answer));
                        last_writes += u32::from(healed);
                    }
                    Err(why) => {
                        self.hear(number, Known::from_error(&why));
                        let known = why.leader().map(|NodeId(id)| usize::try_from(id - 1).unwrap_or_default());
                        leader = Some(known.unwrap_or_else(|| self.random.usize(0..self.hosts)));
                    }
                }
            }
            server = leader.unwrap_or(server);
        }
        self.lab.state().clients_done += 1;
    }

    fn hear(&self, number: u64, known: Known) {
        self.lab.say(format_args!("c{}", self.me), format_args!("{number}: {known:?}"));
        self.lab.count(known.name());
        self.lab.judge(|oracles| oracles.heard(number, known));
    }
}
