//! OpenSSH's server on loopback, for whoever runs the tests.
#![allow(clippy::disallowed_methods, clippy::print_stderr, reason = "this is for tests")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use alknet::{ConnectOptions, Session};
use russh::keys::ssh_key::LineEnding;
use russh::keys::{HashAlg, PrivateKey};
use tokio::sync::Notify;

use super::{Host, identity, new_key};

/// A folder that goes away with its owner. Its path is short: socket paths in it have 107 bytes at most.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("alk-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path of text").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a program has said so far, line by line.
#[derive(Default)]
struct Said {
    text: Mutex<String>,
    more: Notify,
}

/// A running `sshd`, killed when dropped.
pub(crate) struct Sshd {
    program: Child,
    said: Arc<Said>,
    port: u16,
    host_key: PrivateKey,
    key: PrivateKey,
    _folder: Folder,
}

/// The path of a peer, or `None` when this machine lacks it, said loudly; with `CI=true` that is a failure
/// unless `ALKNET_ALLOW_SKIP` has its name.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/usr/local/sbin", "/sbin"]);
    let found = folders.map(|folder| Path::new(folder).join(program)).find(|path| path.exists());
    if found.is_none() {
        let allowed = std::env::var("ALKNET_ALLOW_SKIP").unwrap_or_default();
        let is_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!is_ci || allowed.split(',').any(|name| name == program), "{program} is missing");
        eprintln!("SKIPPED for want of {program}");
    }
    found
}

impl Sshd {
    /// Starts it with `lines` before its other settings. `None` without an `sshd`.
    pub(crate) fn start(lines: &[&str]) -> Option<Self> {
        let sshd = find("sshd")?;
        // Run by root, sshd wants this directory, which only its service unit makes.
        let _ = fs::create_dir_all("/run/sshd");
        let folder = Folder::new();
        let (host_key, key) = (new_key(), new_key());
        let secret = host_key.to_openssh(LineEnding::LF).expect("a key as text");
        private_file(&folder.path("host"), secret.as_bytes());
        let public = key.public_key().to_openssh().expect("a public key as text");
        fs::write(folder.path("keys"), public).expect("a file");
        // sshd cannot choose a port and say which, so one that was free is tried, and another when it is taken by then.
        for _ in 0..5 {
            let port = free_port();
            fs::write(folder.path("config"), config(&folder, port, lines)).expect("a file");
            let mut program = Command::new(&sshd)
                .args(["-D", "-e", "-f", &folder.path("config")])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("sshd starts");
            let mut lines = BufReader::new(program.stderr.take().expect("a pipe")).lines();
            let listens = lines
                .by_ref()
                .map_while(Result::ok)
                .any(|line| line.contains("Server listening on"));
            if !listens {
                let _ = program.kill();
                let _ = program.wait();
                continue;
            }
            let said = Arc::new(Said::default());
            let hears = Arc::clone(&said);
            thread::spawn(move || {
                for line in lines.map_while(Result::ok) {
                    hears.text.lock().expect("a lock").push_str(&(line + "\n"));
                    hears.more.notify_waiters();
                }
            });
            return Some(Self { program, said, port, host_key, key, _folder: folder });
        }
        panic!("sshd did not start");
    }

    /// Logs in.
    pub(crate) async fn session(&self) -> Session {
        alknet::open_session(&self.options()).await.expect("a session")
    }

    /// What a client of ours needs to log in.
    pub(crate) fn options(&self) -> ConnectOptions {
        ConnectOptions {
            server: format!("127.0.0.1:{}", self.port),
            user: user(),
            identity: Some(identity(&self.key)),
            host_keys: vec![self.host_key.public_key().fingerprint(HashAlg::Sha256).to_string()],
            ..ConnectOptions::default()
        }
    }

    /// Waits until its log has `text` in it.
    pub(crate) async fn says(&self, text: &str) {
        loop {
            let more = self.said.more.notified();
            if self.said.text.lock().expect("a lock").contains(text) {
                return;
            }
            more.await;
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

pub(crate) fn private_file(path: &str, bytes: &[u8]) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).expect("a file");
    file.write_all(bytes).expect("a write");
}

/// The only name that can log in at an sshd of ours.
fn user() -> String {
    let id = Command::new("id").arg("-un").output().expect("id runs");
    String::from_utf8(id.stdout).expect("a name").trim().to_owned()
}

// In sshd_config the first value of a keyword wins, so a test's own lines go first.
fn config(folder: &Folder, port: u16, lines: &[&str]) -> String {
    let mut config = lines.join("\n");
    config.push_str(&format!(
        "
Port {port}
ListenAddress 127.0.0.1
HostKey {}
AuthorizedKeysFile {}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding yes
LogLevel VERBOSE
",
        folder.path("host"),
        folder.path("keys"),
    ));
    config
}

/// OpenSSH's client, to be logged in at `host`, which it reaches at `at`.
pub(crate) fn ssh(host: &Host, at: SocketAddr, folder: &Folder, args: &[&str]) -> Option<Command> {
    let mut ssh = Command::new(find("ssh")?);
    let secret = host.key.to_openssh(LineEnding::LF).expect("a key");
    private_file(&folder.path("key"), secret.as_bytes());
    let known = format!("[127.0.0.1]:{} {}\n", at.port(), host.server.host_key());
    fs::write(folder.path("known"), known).expect("a file");
    ssh.args(["-F", "none", "-i", &folder.path("key"), "-p", &at.port().to_string()])
        .args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"])
        .args(["-o", "GlobalKnownHostsFile=none"])
        .args(["-o", &format!("UserKnownHostsFile={}", folder.path("known"))])
        .args(["-o", "StrictHostKeyChecking=yes", "-o", "ExitOnForwardFailure=yes"])
        .args(args)
        .arg("visitor@127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Some(ssh)
}

/// Waits for the end of a program.
pub(crate) async fn output_of(program: Child) -> Output {
    let waiting = tokio::task::spawn_blocking(|| program.wait_with_output());
    waiting.await.expect("a wait").expect("an end")
}
