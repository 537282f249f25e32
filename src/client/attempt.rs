//! One attempt at a session, over the servers and the ways to each in their order, and all that it takes to repeat it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::auth::{HostKeys, Papers, Use};
use crate::dial::{Dialer, Direct};
use crate::error::{Code, Error, Phase, Result};
use crate::io::BoxIo;
use crate::scope::Scope;
use crate::ssh::{self, Login, Session};
use crate::target::{HostPort, Target};
use crate::transport::Way;

/// All that it takes to make a session, as often as needed.
#[derive(Clone)]
pub(super) struct Attempt {
    /// Tried in this order; never empty. Those of one server stand together.
    pub(super) paths: Vec<Path>,
    pub(super) login: Login,
    /// What an authority says of the key, read anew each time.
    pub(super) papers: Papers,
    /// The socket of an ssh-agent, when there is no key.
    pub(super) agent: Option<Target>,
    pub(super) timeout: Duration,
}

/// A way to the server, and the name by which its host key is known there.
#[derive(Clone)]
pub(super) struct Path {
    pub(super) way: Arc<dyn Way>,
    /// Which of the servers it leads to, by its number in the options.
    pub(super) server: usize,
    pub(super) name: HostPort,
    pub(super) host_keys: HostKeys,
    /// What its TCP legs go through, in the words of a message: empty, or ` through …`.
    pub(super) through: String,
}

impl Attempt {
    /// Makes one attempt: a new transport, a new SSH session. Of several ways each has an equal share of the time that is left.
    /// Dropping the future ends it.
    pub(super) async fn run(self) -> Result<Session> {
        Ok(self.reach().await?.0)
    }

    /// The same, with the number of the server.
    pub(super) async fn reach(self) -> Result<(Session, usize)> {
        let Self { paths, mut login, papers, agent, timeout } = self;
        let deadline = Instant::now() + timeout;
        if let Some(key) = login.key.clone() {
            let read = move || papers.load(&key, Use::User);
            login.certificate = Scope::new().blocking(read).await??;
        }
        let mut failures: Vec<(usize, Error)> = Vec::new();
        for (tried, path) in paths.iter().enumerate() {
            if failures.last().is_some_and(|(server, e)| *server == path.server && has_spoken(e)) {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(paths.len() - tried).unwrap_or(1);
            match path.run(login.clone(), agent.as_ref(), share).await {
                Ok(session) => return Ok((session, path.server)),
                Err(error) => {
                    // Who has but one way hears why from the error itself.
                    if paths.len() > 1 {
                        let transport = path.way.transport().as_str();
                        let code = error.code().as_str();
                        tracing::info!(transport, code, "no session this way");
                    }
                    failures.push((path.server, error));
                }
            }
        }
        Err(together(&failures))
    }

    /// Notes that the session is with this server. Accepts from now on no other host key of it than this one, and has the others tried
    /// before it when the session is lost.
    pub(super) fn settle(&mut self, server: usize, fingerprint: &str) {
        for path in self.paths.iter_mut().filter(|path| path.server == server) {
            path.host_keys.demand(fingerprint);
        }
        self.paths.sort_by_key(|path| (path.server == server, path.server));
    }

    /// The same attempt at this server alone.
    pub(super) fn only(mut self, server: usize) -> Self {
        self.paths.retain(|path| path.server == server);
        self
    }
}

impl Path {
    async fn run(&self, login: Login, agent: Option<&Target>, limit: Duration) -> Result<Session> {
        let scope = Scope::new();
        let phase = Mutex::new(Phase::Tcp);
        let mut host_keys = self.host_keys.clone();
        let attempt = async {
            host_keys.load().await?;
            let link = self.way.dial(&phase).await?;
            let agent = match agent {
                Some(socket) => Some(reach_agent(socket).await?),
                None => None,
            };
            let name = self.name.to_string();
            ssh::handshake(link, &name, host_keys, login, agent, &scope, &phase).await
        };
        match tokio::time::timeout(limit, attempt).await {
            Ok(done) => done,
            Err(_) => Err(self.late(limit, *phase.lock())),
        }
    }

    /// Says in which phase the time ran out.
    fn late(&self, limit: Duration, phase: Phase) -> Error {
        let (code, what) = match phase {
            Phase::Tls => (Code::HandshakeTimeout, "did not finish the TLS handshake"),
            Phase::Upgrade => (Code::HandshakeTimeout, "did not open the WebSocket"),
            Phase::Kex => (Code::HandshakeTimeout, "did not finish the SSH key exchange"),
            Phase::Auth => (Code::HandshakeTimeout, "did not finish the log-in"),
            _ => (Code::System("ETIMEDOUT"), "did not answer"),
        };
        let Self { name, through, .. } = self;
        let message = format!("{name} {what} within {} ms{through}", limit.as_millis());
        Error::new(code, message).at(phase).address(&self.name.host, self.name.port)
    }
}

async fn reach_agent(socket: &Target) -> Result<BoxIo> {
    let reached = Dialer::dial(&Direct, socket, None).await;
    let hint = "start ssh-agent(1), or name a key instead";
    reached.map(|agent| agent.io).map_err(|e| e.at(Phase::Auth).hint(hint))
}

/// Whether the server has spoken, so that another way to it would bring the same answer.
fn has_spoken(error: &Error) -> bool {
    finality(error) > 0
}

/// How little further attempts would change.
fn finality(error: &Error) -> u8 {
    match error.code() {
        code if code.is_permanent() => 2,
        Code::AuthRejected | Code::TooManySessions => 1,
        _ => 0,
    }
}

/// One failure that stands for all, and tells of the others: that of the server whose answer is the least final, so that attempts go on
/// while one of them may help; the last of those.
fn together(failures: &[(usize, Error)]) -> Error {
    let of_each = failures.chunk_by(|(one, _), (other, _)| one == other);
    let mut answers: Vec<_> = of_each.filter_map(of_one_server).collect();
    let least = answers.iter().map(finality).min();
    let Some(at) = answers.iter().rposition(|answer| Some(finality(answer)) == least) else {
        return Error::config("there is no way to the server");
    };
    let chosen = answers.remove(at);
    beside(chosen, answers.iter())
}

/// What the server answered, or else the last failure.
fn of_one_server(failures: &[(usize, Error)]) -> Option<Error> {
    let ((_, last), before) = failures.split_last()?;
    let before = if has_spoken(last) { &[][..] } else { before };
    Some(beside(last.clone(), before.iter().map(|(_, error)| error)))
}

fn beside<'a>(error: Error, others: impl Iterator<Item = &'a Error>) -> Error {
    let others: Vec<_> = others.map(ToString::to_string).collect();
    if others.is_empty() {
        return error;
    }
    let help = error.help().map(|help| format!("{help}; ")).unwrap_or_default();
    error.hint(format!("{help}before this: {}", others.join("; ")))
}
