//! A progress bar on a terminal, and plain lines where there is none.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

const WIDTH: usize = 40;
/// On a terminal the bar moves so often.
const REDRAW: Duration = Duration::from_millis(50);
/// Elsewhere a line is written so often.
const LINE: Duration = Duration::from_secs(1);

pub struct Progress {
    total: usize,
    began: Instant,
    drawn: Option<Instant>,
    terminal: bool,
}

impl Progress {
    pub fn new(total: usize) -> Progress {
        Progress { total, began: Instant::now(), drawn: None, terminal: io::stdout().is_terminal() }
    }

    /// Shows how far it is, unless that was done just now.
    pub fn show(&mut self, done: usize) -> io::Result<()> {
        let wait = if self.terminal { REDRAW } else { LINE };
        if done < self.total && self.drawn.unwrap_or(self.began).elapsed() < wait {
            return Ok(());
        }
        self.drawn = Some(Instant::now());
        let rate = done as f64 / self.began.elapsed().as_secs_f64();
        let counts = format!("{}/{}  {}/s", grouped(done), grouped(self.total), grouped(rate));
        let mut out = io::stdout().lock();
        if self.terminal {
            write!(out, "\r[{}] {counts}\x1b[K", bar(done, self.total))?;
        } else {
            writeln!(out, "  {counts}")?;
        }
        out.flush()
    }

    /// Writes a line; the bar moves below it.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.terminal && self.drawn.take().is_some() {
            write!(out, "\r\x1b[K")?;
        }
        writeln!(out, "{text}")?;
        out.flush()
    }
}

impl Drop for Progress {
    /// Leaves the bar where it is.
    fn drop(&mut self) {
        if self.terminal && self.drawn.is_some() {
            println!();
        }
    }
}

fn bar(done: usize, total: usize) -> String {
    let full = done.min(total) * WIDTH / total.max(1);
    let head = if full < WIDTH { ">" } else { "" };
    format!("{:<WIDTH$}", "=".repeat(full) + head)
}

/// `1234567.3` as `1,234,567`.
pub fn grouped(number: impl Display) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_numbers() {
        assert_eq!(bar(0, 7).trim_end(), ">");
        assert_eq!(bar(7, 7), "=".repeat(WIDTH));
        assert!([bar(0, 9), bar(3, 9), bar(9, 9), bar(0, 0)].iter().all(|bar| bar.len() == WIDTH));
        assert_eq!([0, 12, 999, 1000, 1_234_567].map(grouped), ["0", "12", "999", "1,000", "1,234,567"]);
        assert_eq!(grouped(1234.3), "1,234");
    }
}
