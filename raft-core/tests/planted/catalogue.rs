//! Reads the list of bugs to plant, and plants one in a text. Used by the test `planted` and the example `planted`.

/// One bug: lines of one file, and what replaces them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bug {
    pub(crate) name: String,
    /// What it breaks, and where that is said.
    pub(crate) rule: String,
    /// The row of Figure 2, by its test's name.
    pub(crate) row: Option<String>,
    /// Below `src`.
    pub(crate) file: String,
    pub(crate) old: Vec<String>,
    pub(crate) new: Vec<String>,
}

/// The bugs of a catalogue, in its order.
pub(crate) fn parse(text: &str) -> Result<Vec<Bug>, String> {
    let mut bugs: Vec<Bug> = vec![];
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let value = value.trim().to_owned();
        if key == "bug" {
            bugs.push(Bug { name: value, ..Bug::default() });
            continue;
        }
        let bug = bugs.last_mut().ok_or_else(|| format!("line {}: no bug has begun", number + 1))?;
        match key {
            "rule" => bug.rule = value,
            "row" => bug.row = Some(value),
            "file" => bug.file = value,
            "-" => bug.old.push(value),
            "+" => bug.new.push(value),
            _ => return Err(format!("line {}: {key}: not known", number + 1)),
        }
    }
    Ok(bugs)
}

impl Bug {
    /// The file's text with this bug in it. The lines must stand there exactly once.
    pub(crate) fn plant(&self, source: &str) -> Result<String, String> {
        let lines: Vec<&str> = source.lines().collect();
        let places: Vec<usize> = (0..lines.len()).filter(|&at| self.stands_at(&lines[at..])).collect();
        let [at] = places[..] else {
            return Err(format!("{}: its lines stand {} times in {}", self.name, places.len(), self.file));
        };
        let new = self.new.iter().map(String::as_str);
        let after = lines[at + self.old.len()..].iter().copied();
        let planted: Vec<&str> = lines[..at].iter().copied().chain(new).chain(after).collect();
        Ok(planted.join("\n") + "\n")
    }

    fn stands_at(&self, lines: &[&str]) -> bool {
        !self.old.is_empty()
            && lines.len() >= self.old.len()
            && lines.iter().zip(&self.old).all(|(line, old)| line.trim() == old)
    }
}
