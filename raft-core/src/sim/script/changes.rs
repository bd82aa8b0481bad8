//! Changes of the membership as `Display` of `Change` says them: `add voter 4=host:1, remove 3 if 7@2`.

use std::format;
use std::vec::Vec;

use super::grammar::{self, Words, Wrong};
use crate::{Address, Change, Edit, NodeId};

pub(crate) fn change(text: &str) -> Wrong<Change> {
    let (edits, expected) = match text.rsplit_once(" if ") {
        Some((edits, entry)) => (edits, Some(grammar::entry(entry.trim())?)),
        None => (text, None),
    };
    let edits = edits.split(", ").filter(|edit| edit.trim() != "nothing").map(edit).collect::<Wrong<Vec<_>>>()?;
    Ok(Change { expected, edits })
}

fn edit(text: &str) -> Wrong<Edit> {
    let mut words = Words::new(text);
    let id = |words: &mut Words<'_>| words.number("a server").map(NodeId);
    let edit = match words.word("an edit")? {
        "add" => match words.word("learner or voter")? {
            "learner" => placed(&mut words).map(|(id, address)| Edit::AddLearner { id, address })?,
            "voter" => placed(&mut words).map(|(id, address)| Edit::AddVoter { id, address })?,
            other => return Err(format!("`{other}`: a learner or a voter is added")),
        },
        "replace" => {
            let old = id(&mut words)?;
            words.expect("by")?;
            let (new, address) = placed(&mut words)?;
            Edit::Replace { old, new, address }
        }
        "promote" => Edit::Promote { id: id(&mut words)? },
        "demote" => Edit::Demote { id: id(&mut words)? },
        "remove" => Edit::Remove { id: id(&mut words)? },
        "readmit" => Edit::Readmit { id: id(&mut words)? },
        "address" => placed(&mut words).map(|(id, address)| Edit::SetAddress { id, address })?,
        "keep" => {
            words.expect("learner")?;
            Edit::KeepLearner { id: id(&mut words)? }
        }
        other => return Err(format!("`{other}` is no edit of the membership")),
    };
    words.end()?;
    Ok(edit)
}

/// `4` or `4=host:1`
fn placed(words: &mut Words<'_>) -> Wrong<(NodeId, Address)> {
    let word = words.word("a server")?;
    let (id, address) = word.split_once('=').unwrap_or((word, ""));
    let address = Address::new(address).map_err(|error| format!("{error}"))?;
    Ok((NodeId(grammar::number(id, "a server")?), address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reads_as_it_is_told() {
        let all = "add learner 4=h:1, add voter 5, replace 3 by 6=h:2, promote 7, demote 2, remove 8, readmit 9, \
                   address 1=h:3, keep learner 10";
        for text in [all, "remove 3 if 7@2", "replace 3 by 4", "nothing", "nothing if 7@2"] {
            assert_eq!(change(text).map(|change| format!("{change}")).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_is_no_change_says_why() {
        let wrong = ["add 4", "add voter", "replace 3", "promote s3", "vote 3", "", "remove 3 if 7", "remove 3 4"];
        assert!(wrong.iter().all(|text| change(text).is_err()));
    }
}
