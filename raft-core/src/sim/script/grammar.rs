//! The words of a script: lines, and what a command's words may be. `docs/scripts.md` has the whole grammar.

use std::format;
use std::string::String;
use std::vec::Vec;

use crate::{EntryId, Incarnation, NodeId, Term};

/// A line of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// A heading, a comment, or nothing: kept as it is.
    Prose,
    /// What came out of the command above: compared, or rewritten.
    Trace,
    Command(&'a str),
}

impl Line<'_> {
    pub(crate) fn of(line: &str) -> Line<'_> {
        if line.starts_with([' ', '\t']) && !line.trim().is_empty() {
            return Line::Trace;
        }
        match line.split(" # ").next().unwrap_or_default().trim_end() {
            "" => Line::Prose,
            prose if prose.starts_with('#') => Line::Prose,
            command => Line::Command(command),
        }
    }
}

/// Why a line makes no command.
pub(crate) type Wrong<T = ()> = Result<T, String>;

/// The words of a command, read from left to right.
pub(crate) struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    pub(crate) fn new(line: &'a str) -> Words<'a> {
        Words { rest: line.trim() }
    }

    pub(crate) fn peek(&self) -> Option<&'a str> {
        self.rest.split_whitespace().next()
    }

    pub(crate) fn next(&mut self) -> Option<&'a str> {
        let word = self.peek()?;
        self.rest = self.rest[word.len()..].trim_start();
        Some(word)
    }

    /// The next word, which must be there.
    pub(crate) fn word(&mut self, what: &str) -> Wrong<&'a str> {
        self.next().ok_or_else(|| format!("{what} is missing"))
    }

    /// The next word, if it is this one.
    pub(crate) fn takes(&mut self, word: &str) -> bool {
        let there = self.peek() == Some(word);
        if there {
            self.next();
        }
        there
    }

    /// The next word must be this one.
    pub(crate) fn expect(&mut self, word: &str) -> Wrong {
        if self.takes(word) { Ok(()) } else { Err(format!("`{word}` is missing{}", self.found())) }
    }

    pub(crate) fn number(&mut self, what: &str) -> Wrong<u64> {
        number(self.word(what)?, what)
    }

    /// A number, if one comes next.
    pub(crate) fn takes_number(&mut self) -> Option<u64> {
        let number = self.peek()?.parse().ok()?;
        self.next();
        Some(number)
    }

    /// A server, as in `s2`, if one comes next.
    pub(crate) fn takes_server(&mut self) -> Option<NodeId> {
        let id = server(self.peek()?)?;
        self.next();
        Some(id)
    }

    pub(crate) fn rest(self) -> &'a str {
        self.rest
    }

    /// Nothing may follow.
    pub(crate) fn end(&self) -> Wrong {
        if self.rest.is_empty() { Ok(()) } else { Err(format!("`{}` is too much", self.rest)) }
    }

    fn found(&self) -> String {
        self.peek().map(|word| format!(" before `{word}`")).unwrap_or_default()
    }
}

/// `s2`.
pub(crate) fn server(word: &str) -> Option<NodeId> {
    word.strip_prefix('s')?.parse().ok().map(NodeId)
}

pub(crate) fn number(word: &str, what: &str) -> Wrong<u64> {
    word.parse().map_err(|_| format!("{what}: `{word}` is not a number"))
}

/// `t3`.
pub(crate) fn term(word: &str) -> Wrong<Term> {
    let term = word.strip_prefix('t').and_then(|digits| digits.parse().ok()).map(Term);
    term.ok_or_else(|| format!("`{word}` is not a term like t3"))
}

/// `4@2`.
pub(crate) fn entry(word: &str) -> Wrong<EntryId> {
    let parts = word.split_once('@').and_then(|(index, term)| Some((index.parse().ok()?, term.parse().ok()?)));
    parts.map(|(index, term)| EntryId::new(term, index)).ok_or_else(|| format!("`{word}` is not an entry like 4@2"))
}

/// `3`, `j301`: a founder's disk, or one of a server that joined.
pub(crate) fn disk(word: &str) -> Wrong<Incarnation> {
    match word.strip_prefix('j') {
        Some(digits) => number(digits, "a disk").map(Incarnation::joined),
        None => number(word, "a disk").map(Incarnation::founder),
    }
}

/// The terms of a log from index 1 on: `1,1,4` or `1*2,4`; `-` for none.
pub(crate) fn terms(word: &str) -> Wrong<Vec<Term>> {
    let mut terms = Vec::new();
    if word == "-" {
        return Ok(terms);
    }
    for part in word.split(',') {
        let (term, count) = part.split_once('*').unwrap_or((part, "1"));
        let term = Term(number(term, "a term of the log")?);
        let count = number(count, "how many entries of a term")?;
        if count > 1000 {
            return Err(format!("`{part}` is too long"));
        }
        terms.extend((0..count).map(|_| term));
    }
    Ok(terms)
}

/// `key=value`.
pub(crate) fn setting(word: &str) -> Wrong<(&str, &str)> {
    word.split_once('=').ok_or_else(|| format!("`{word}` is not a setting like key=value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        assert_eq!(Line::of("# A heading"), Line::Prose);
        assert_eq!(Line::of("   "), Line::Prose);
        assert_eq!(Line::of("    s1 tick 1"), Line::Trace);
        assert_eq!(Line::of("timeout s1 # it hears nobody"), Line::Command("timeout s1"));
    }

    #[test]
    fn words_say_what_is_wrong_with_them() {
        assert_eq!(terms("1*3,4").unwrap(), [Term(1), Term(1), Term(1), Term(4)]);
        assert!(terms("1*9999").is_err() && terms("x").is_err() && entry("4").is_err() && term("3").is_err());
        assert_eq!(entry("4@2"), Ok(EntryId::new(2, 4)));
        let mut words = Words::new("s3  7 of");
        assert_eq!(
            (words.takes_server(), words.takes_number(), words.takes_number()),
            (Some(NodeId(3)), Some(7), None)
        );
        assert_eq!(words.end(), Err("`of` is too much".into()));
        assert_eq!(words.expect("from"), Err("`from` is missing before `of`".into()));
    }
}
