//! Real-time order, a half of linearizability (§8): a command that was acknowledged stands before every command that was
//! started after its acknowledgement.

#[derive(Default)]
pub(crate) struct Order {
    /// The highest index that any client was told of.
    acknowledged: u64,
    /// For each command, what that was when it was started.
    behind: Vec<u64>,
}

impl Order {
    pub(crate) fn starts(&mut self) {
        self.behind.push(self.acknowledged);
    }

    pub(crate) fn acknowledged(&mut self, index: u64) {
        self.acknowledged = self.acknowledged.max(index);
    }

    /// A machine has applied a command at an index.
    pub(crate) fn applied(&self, host: usize, index: u64, command: u64) -> Result<(), String> {
        let behind = usize::try_from(command).ok().and_then(|command| self.behind.get(command));
        match behind {
            Some(behind) if index <= *behind => Err(format!(
                "order: s{} has command {command} at {index}, and it was started when {behind} was acknowledged",
                host + 1
            )),
            // What nobody started, others say.
            _ => Ok(()),
        }
    }
}
