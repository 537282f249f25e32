//! Who may do what, by token: agents by their containers' names, users by their tasks.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Phase, Result};

/// A token file: `{"agents": {NAME: TOKEN}, "users": {NAME: {"token": TOKEN, "tasks": [ID]}}}`. The name `*` stands for every agent,
/// the task `*`, or no list, for every task.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tokens {
    #[serde(default)]
    agents: BTreeMap<String, String>,
    #[serde(default)]
    users: BTreeMap<String, User>,
    #[serde(skip)]
    required: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    token: String,
    #[serde(default)]
    tasks: Option<Vec<String>>,
}

/// Shortest token that is taken for one: 128 bits in hexadecimal have 32 signs, in base64 22.
const SHORTEST: usize = 16;

impl Tokens {
    /// Reads a token file.
    ///
    /// # Errors
    /// The file's own failure, `ERR_ALKNET_CONFIG` for what is in it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::system("open", &shown, e).at(Phase::Config))?;
        let mut tokens: Self = serde_json::from_str(&text).map_err(|e| {
            Error::config(format!("token file {shown}: line {}: not as it should be", e.line()))
        })?;
        let all = tokens.agents.values().chain(tokens.users.values().map(|user| &user.token));
        let is_token = |token: &String| {
            token.len() >= SHORTEST && token.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !all.into_iter().all(is_token) {
            let why = format!("token file {shown}: a token needs {SHORTEST} signs or more");
            return Err(
                Error::config(why).hint("of ASCII, as headers have no others, without blanks")
            );
        }
        tokens.required = true;
        Ok(tokens)
    }

    /// Whether anybody needs one.
    pub(crate) fn are_required(&self) -> bool {
        self.required
    }

    /// Whether the agent of a container may be who it says it is.
    pub(crate) fn admits_agent(&self, name: &str, token: Option<&str>) -> bool {
        let known = self.agents.get(name).or_else(|| self.agents.get("*"));
        !self.required || known.is_some_and(|known| is(known, token))
    }

    /// Whether a user may reach a task, or a host a runner.
    pub(crate) fn admits_user(&self, task: &str, token: Option<&str>) -> bool {
        self.scope(token).is_some_and(|scope| scope.has(task))
    }

    /// What who shows a token may reach; `None` for a token of nobody's.
    pub(crate) fn scope(&self, token: Option<&str>) -> Option<Scope<'_>> {
        // All are looked at, so that the time tells nothing.
        let known = self.users.values().filter(|user| is(&user.token, token));
        let lists: Vec<_> = known.map(|user| user.tasks.as_deref()).collect();
        match self.required {
            true if lists.is_empty() => None,
            true => Some(Scope(lists)),
            false => Some(Scope(vec![None])),
        }
    }
}

/// Tasks that somebody may reach: those of each list, where none is every task.
pub(crate) struct Scope<'a>(Vec<Option<&'a [String]>>);

impl Scope<'_> {
    pub(crate) fn has(&self, task: &str) -> bool {
        let in_list = |ids: &&[String]| ids.iter().any(|id| id == "*" || id == task);
        self.0.iter().any(|list| list.as_ref().is_none_or(in_list))
    }
}

/// Compares in a time that does not depend on where they differ.
fn is(known: &str, shown: Option<&str>) -> bool {
    let shown = shown.unwrap_or_default().as_bytes();
    let known = known.as_bytes();
    let differing = known
        .iter()
        .enumerate()
        .fold(0, |sum, (at, byte)| sum | (byte ^ shown.get(at).copied().unwrap_or_default()));
    differing == 0 && known.len() == shown.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_admit_who_they_belong_to_and_nobody_else() {
        let mut tokens: Tokens = serde_json::from_str(
            r#"{"agents": {"a": "token-of-agent-a"},
                "users": {"u": {"token": "token-of-user-u!", "tasks": ["5"]}, "all": {"token": "token-of-all-all"}}}"#,
        )
        .expect("tokens");
        assert!(tokens.admits_agent("b", None), "none is required yet");
        tokens.required = true;
        assert!(tokens.admits_agent("a", Some("token-of-agent-a")));
        for token in
            [None, Some(""), Some("token-of-agent-b"), Some("token-of-agent-a2"), Some("token")]
        {
            assert!(!tokens.admits_agent("a", token), "{token:?}");
        }
        assert!(!tokens.admits_agent("b", Some("token-of-agent-a")));
        assert!(tokens.admits_user("5", Some("token-of-user-u!")));
        assert!(!tokens.admits_user("6", Some("token-of-user-u!")));
        assert!(tokens.admits_user("6", Some("token-of-all-all")));
        assert!(!tokens.admits_user("6", None));
        assert!(tokens.scope(Some("token-of-nobody!")).is_none());
    }
}
