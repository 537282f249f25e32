//! The program as its surroundings see it: readiness, signals, the log.
#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test has sockets of its own")]

#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod support;

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use serde_json::Value;

use support::new_key;
use support::sshd::{Folder, find, private_file};

/// A watchdog for reads: no test depends on how long anything takes.
const LIMIT: Option<Duration> = Some(Duration::from_secs(60));

/// A running `alknet`, killed when dropped.
struct Program {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    err: Option<ChildStderr>,
}

impl Program {
    fn start(args: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_as(&[args, &["--json"]].concat(), variables)
    }

    /// The same with just these words.
    fn start_as(args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alknet"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ALKNET_")) {
            command.env_remove(name);
        }
        command.env_remove("SSH_AUTH_SOCK").envs(variables.iter().copied());
        let pipes = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.args(args).spawn().expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let err = child.stderr.take();
        Self { child, out, err }
    }

    /// The next thing it reports.
    fn event(&mut self) -> Value {
        let line = self.out.next().expect("a line").expect("a read");
        serde_json::from_str(&line).expect("an object")
    }

    /// The next report of that name.
    fn event_called(&mut self, name: &str) -> Value {
        loop {
            let event = self.event();
            if event["event"] == name {
                return event;
            }
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill(1)").success());
    }

    /// How it ended, and all that it said on stderr.
    fn end(mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        self.err.take().expect("a pipe").read_to_string(&mut said).expect("its end");
        (self.child.wait().expect("its end"), said)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keys of a server and a client, in files.
struct Keys {
    folder: Folder,
    host: String,
    client: String,
    authorized: String,
}

impl Keys {
    fn new() -> Self {
        let folder = Folder::new();
        let write = |name: &str, key: &PrivateKey| {
            let path = folder.path(name);
            let secret = key.to_openssh(LineEnding::LF).expect("a key as text");
            private_file(&path, secret.as_bytes());
            path
        };
        let key = new_key();
        let (host, client) = (write("host", &new_key()), write("client", &key));
        let authorized = folder.path("authorized_keys");
        private_file(&authorized, key.public_key().to_openssh().expect("a key").as_bytes());
        Self { folder, host, client, authorized }
    }

    /// A server for that client, and how to reach it.
    fn serve(&self, more: &[&str]) -> (Program, String) {
        let args = ["serve", "--key", &self.host, "--authorized-keys", &self.authorized];
        let args = [&args[..], &["--listen", "127.0.0.1:0"], more].concat();
        let mut program = Program::start(&args, &[]);
        let at = program.event_called("listening")["connectionString"].as_str().map(String::from);
        (program, at.expect("a connection string"))
    }

    /// A client with a forward to `target`, and its port.
    fn connect(&self, at: &str, target: &str) -> (Program, u16) {
        let spec = format!("127.0.0.1:0:{target}");
        let args = ["connect", at, "-i", &self.client, "--no-socks5", "-L", &spec];
        let mut program = Program::start(&args, &[]);
        let listening = program.event_called("listening");
        let port = listening["addresses"][0].as_str().and_then(|at| at.rsplit(':').next());
        let port = port.and_then(|port| port.parse().ok()).expect("a port");
        program.event_called("up");
        (program, port)
    }
}

/// Both ends of a connection through a forward.
fn through(port: u16, at: &TcpListener) -> (TcpStream, TcpStream) {
    let near = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let (far, _) = at.accept().expect("a connection");
    for end in [&near, &far] {
        end.set_read_timeout(LIMIT).expect("a limit");
    }
    (near, far)
}

fn say(from: &mut TcpStream, to: &mut TcpStream, word: &str) {
    from.write_all(word.as_bytes()).expect("a write");
    let mut heard = vec![0; word.len()];
    to.read_exact(&mut heard).expect("a read");
    assert_eq!(heard, word.as_bytes());
}

fn target() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address").to_string();
    (listener, at)
}

#[test]
fn a_service_manager_is_told_when_a_server_listens() {
    let keys = Keys::new();
    let path = keys.folder.path("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(LIMIT).expect("a limit");
    let args = ["serve", "--key", &keys.host, "--authorized-keys", &keys.authorized];
    let args = [&args[..], &["--listen", "127.0.0.1:0"]].concat();
    let mut program = Program::start(&args, &[("NOTIFY_SOCKET", path.as_str())]);
    let mut said = [0; 64];
    let len = manager.recv(&mut said).expect("a word");
    assert_eq!(said[..len].trim_ascii(), b"READY=1");
    assert_eq!(program.event()["event"], "listening");
}

#[test]
fn a_hangup_reads_the_keys_again_and_ends_sessions_of_those_that_are_gone() {
    let keys = Keys::new();
    let (mut server, at) = keys.serve(&[]);
    let (_listener, target) = target();
    let (mut client, _) = keys.connect(&at, &target);
    let other = new_key().public_key().to_openssh().expect("a key");
    std::fs::write(&keys.authorized, other).expect("a write");
    server.signal("-HUP");
    server.event_called("reloaded");
    let down = client.event_called("down");
    assert!(
        down["message"].as_str().unwrap_or_default().contains("may no longer log in"),
        "{down}"
    );
}

#[test]
fn a_client_that_is_told_to_end_closes_its_listeners_and_lets_streams_end() {
    let keys = Keys::new();
    let (_server, at) = keys.serve(&[]);
    let (listener, target) = target();
    let (client, port) = keys.connect(&at, &target);
    let (mut near, mut far) = through(port, &listener);
    say(&mut near, &mut far, "before");
    client.signal("-TERM");
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        std::thread::yield_now();
    }
    say(&mut near, &mut far, "its listener has gone");
    say(&mut far, &mut near, "and its streams have not");
    drop((near, far));
    assert!(client.end().0.success());
}

#[test]
fn a_server_that_is_told_to_end_takes_nobody_new_and_lets_streams_end() {
    let keys = Keys::new();
    let (server, at) = keys.serve(&[]);
    let (listener, target) = target();
    let (_client, port) = keys.connect(&at, &target);
    let (mut near, mut far) = through(port, &listener);
    say(&mut near, &mut far, "before");
    server.signal("-TERM");
    let address = at.trim_start_matches("alknet://").split('?').next().expect("an address");
    while TcpStream::connect(address).is_ok() {
        std::thread::yield_now();
    }
    say(&mut near, &mut far, "its listener has gone");
    near.shutdown(std::net::Shutdown::Write).expect("an end");
    assert_eq!(far.read(&mut [0]).expect("the end"), 0);
    drop(far);
    assert_eq!(near.read(&mut [0]).expect("the end"), 0);
    assert!(server.end().0.success());
}

#[test]
fn a_second_signal_does_not_wait() {
    let keys = Keys::new();
    let (_server, at) = keys.serve(&[]);
    let (listener, target) = target();
    let (client, port) = keys.connect(&at, &target);
    let (mut near, mut far) = through(port, &listener);
    say(&mut near, &mut far, "held");
    client.signal("-INT");
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        std::thread::yield_now();
    }
    client.signal("-INT");
    assert_eq!(client.end().0.code(), Some(130));
}

#[test]
fn a_log_tells_who_came_and_went_and_never_where_to() {
    for format in ["text", "json"] {
        let keys = Keys::new();
        let (server, at) = keys.serve(&["--log-format", format, "--max-connections-per-ip", "2"]);
        let (listener, target) = target();
        let (client, port) = keys.connect(&at, &target);
        let (mut near, mut far) = through(port, &listener);
        say(&mut near, &mut far, "payload-of-this-test");
        let address = at.trim_start_matches("alknet://").split('?').next().expect("an address");
        // It is let in before the third comes, for each is in a task of its own.
        let mut second = TcpStream::connect(address).expect("a connection");
        second.set_read_timeout(LIMIT).expect("a limit");
        second.read_exact(&mut [0]).expect("the server's first word");
        let mut third = TcpStream::connect(address).expect("a connection");
        third.set_read_timeout(LIMIT).expect("a limit");
        assert_eq!(third.read(&mut [0]).unwrap_or_default(), 0, "one too many was let in");
        drop((near, far));
        client.signal("-TERM");
        assert!(client.end().0.success());
        server.signal("-TERM");
        let (_, said) = server.end();
        let has = |words: &[&str]| {
            let found = said.lines().any(|line| words.iter().all(|word| line.contains(word)));
            assert!(found, "no line with {words:?} in\n{said}");
        };
        match format {
            "text" => {
                has(&[
                    "INFO connection opened remote_addr=127.0.0.1 remote_port=",
                    " transport=tcp",
                ]);
                has(&[
                    "INFO auth attempt remote_addr=127.0.0.1 user=",
                    " key_fingerprint=SHA256:",
                    " result=accept",
                ]);
                has(&["INFO connection closed remote_addr=127.0.0.1 remote_port=", " duration="]);
                has(&[
                    "INFO connection refused remote_addr=127.0.0.1 reason=\"too many connections of this source\"",
                ]);
            }
            _ => {
                has(&[
                    r#""message":"connection opened""#,
                    r#""remote_addr":"127.0.0.1""#,
                    r#""transport":"tcp""#,
                ]);
                has(&[r#""message":"auth attempt""#, r#""result":"accept""#]);
                has(&[r#""message":"connection closed""#, r#""duration":"#]);
            }
        }
        for secret in ["payload-of-this-test", target.as_str()] {
            assert!(!said.contains(secret), "{secret} is in the log:\n{said}");
        }
    }
}

/// A real ssh-agent, killed when dropped.
struct Agent {
    child: Child,
    socket: String,
}

impl Agent {
    fn start(folder: &Folder) -> Option<Self> {
        let socket = folder.path("agent");
        let mut command = Command::new(find("ssh-agent")?);
        let child = command.args(["-D", "-a", &socket]).stdout(Stdio::null()).spawn();
        let child = child.expect("the agent starts");
        while !std::path::Path::new(&socket).exists() {
            std::thread::yield_now();
        }
        Some(Self { child, socket })
    }

    fn add(&self, path: &str) {
        let mut command = Command::new("ssh-add");
        let added = command.arg("-q").arg(path).env("SSH_AUTH_SOCK", &self.socket).status();
        assert!(added.expect("ssh-add(1)").success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn keys_of_an_agent_are_tried_in_their_order() {
    let keys = Keys::new();
    let Some(agent) = Agent::start(&keys.folder) else { return };
    let (stranger, rsa) = (keys.folder.path("stranger"), keys.folder.path("rsa"));
    for (kind, path) in [("ed25519", &stranger), ("rsa", &rsa)] {
        let mut command = Command::new("ssh-keygen");
        let made = command.args(["-q", "-t", kind, "-N", "", "-f", path]).status();
        assert!(made.expect("ssh-keygen(1)").success());
    }
    let line = std::fs::read(format!("{rsa}.pub")).expect("a key");
    std::fs::write(&keys.authorized, line).expect("a write");
    let (server, at) = keys.serve(&[]);
    let home = keys.folder.path("home");
    let variables = [("SSH_AUTH_SOCK", agent.socket.as_str()), ("HOME", home.as_str())];
    let args = ["connect", &at, "--no-socks5", "--once", "-n", "-T"];

    let nothing = Program::start(&args, &variables).end().0;
    assert_eq!(nothing.code(), Some(8), "an empty agent, and no usual key");
    agent.add(&stranger);
    let mut refused = Program::start(&args, &variables);
    let error = refused.event_called("error");
    assert_eq!(error["code"], "ERR_ALKNET_AUTH_REJECTED");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains("none of 1 keys"), "{error}");
    assert_eq!(refused.end().0.code(), Some(4));
    // RSA signs with SHA-2, for the server takes nothing else.
    agent.add(&rsa);
    let mut let_in = Program::start(&args, &variables);
    let_in.event_called("up");
    let_in.signal("-TERM");
    assert!(let_in.end().0.success());
    // A key that is named is the only one.
    let named = Program::start(&[&args[..], &["-i", &keys.client]].concat(), &variables);
    assert_eq!(named.end().0.code(), Some(4));
    server.signal("-TERM");
    let (_, said) = server.end();
    assert!(said.contains("result=accept"), "{said}");
}

#[test]
fn options_of_ssh_without_a_meaning_are_refused_with_what_helps() {
    for (option, help) in [
        (&["-A"][..], "ProxyCommand"),
        (&["-o", "StrictHostKeyChecking=no"], "--host-key"),
        (&["-o", "ProxyCommand=nc %h %p"], "--jump"),
        (&["-o", "LogLevel=ERROR"], "--log-level"),
        (&["-tt"], "ProxyCommand"),
        (&["uptime"], "ProxyCommand"),
    ] {
        let args = [&["--json", "connect", "host"], option].concat();
        let mut program = Program::start_as(&args, &[]);
        let error = program.event_called("error");
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains(help)), "{error}");
        assert_eq!(program.end().0.code(), Some(8), "{option:?}");
    }
}
