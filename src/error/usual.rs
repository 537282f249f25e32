//! What mostly helps against a failure of the system, where nothing better is known.

use super::{Code, Error, Phase};

/// What to do about a failure that was given no hint.
pub(super) fn help(error: &Error) -> Option<&'static str> {
    let Code::System(name) = error.code() else { return None };
    Some(match (name, error.phase(), error.syscall()) {
        ("ENOENT" | "ENOTDIR", _, Some("open")) if error.to_string().contains(" ~") => {
            "a ~ is for a shell to replace, and none saw this one: give the whole path"
        }
        ("ENOENT", Some(Phase::Config), Some("open")) => {
            "there is no such file; a path that does not begin with / is seen from the working directory"
        }
        ("ENOENT", _, Some("write")) => "the folder is not there: mkdir -p makes it",
        ("ECONNREFUSED", Some(Phase::Tcp), _) => {
            "nothing listens on that port: see whether the server runs, and whether that is its port"
        }
        // It is known, and has no address of the family that was asked for.
        ("ENOTFOUND", _, _) if error.to_string().contains("(no IPv") => return None,
        ("ENOTFOUND", Some(Phase::Dns), _) => {
            "no such name is known here: see how it is spelt, and whether names are looked up at all"
        }
        ("ETIMEDOUT", Some(Phase::Tcp), _) => {
            "there was no answer: the machine may be off, or a firewall drop what is sent to that port"
        }
        ("EADDRINUSE", Some(Phase::Listen), _) => {
            "something listens there already: end it, or take another port; 0 takes a free one"
        }
        ("EADDRNOTAVAIL", Some(Phase::Listen), _) => "this machine has no such address",
        ("EACCES", Some(Phase::Listen), _) => "ports below 1024 need privileges: take a higher one",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_of_its_own_comes_before_the_usual_one() {
        let refused = || Error::new(Code::System("ECONNREFUSED"), "x").at(Phase::Tcp);
        assert!(refused().help().is_some_and(|help| help.contains("nothing listens")));
        assert_eq!(refused().hint("y").help(), Some("y"));
        assert_eq!(refused().at(Phase::Channel).help(), None);
    }
}
