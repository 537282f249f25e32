//! `alknet tunnel ssh`, `vps connect` and `ssh-config`: the system's `ssh` through the host's SSH proxy.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use tokio::io::{AsyncWriteExt, copy, split, stdin, stdout};

use super::place::{host_name, task};
use super::token;
use crate::cli::Control;
use crate::cli::args::{TunnelHostPlace, TunnelSsh, TunnelSshConfig};
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::client::{ForwardOptions, LocalForwarder, SshProxy};
use crate::config::{Bind, PortForwardSpec};
use crate::error::{Error, Result};
use crate::io::Connected;
use crate::scope::off_thread;
use crate::target::{HostPort, Target};
use crate::tunnel::is_loopback;

pub(super) async fn ssh(
    host: &TunnelHostPlace,
    options: &TunnelSsh,
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    let proxy = proxy(host, options)?;
    // Whatever is wrong is said here, rather than by an ssh that finds its connection closed.
    let first = tokio::select! {
        first = proxy.dial() => first?,
        () = control.draining() => return Ok(Exit::OK),
    };
    if options.stdio {
        return tokio::select! {
            done = pipe(first) => done,
            () = control.draining() => Ok(Exit::OK),
        };
    }
    drop(first);
    let listen = Bind::Port { host: Some("127.0.0.1".to_owned()), port: options.local_port };
    let target = Target::Tcp(HostPort { host: "localhost".to_owned(), port: 22 });
    let spec = PortForwardSpec::new(listen, target)?;
    let forward = LocalForwarder::start(&spec, proxy, &ForwardOptions::default()).await?;
    let port = forward.addresses().first().map_or(0, std::net::SocketAddr::port);
    report.talk(&format!("ssh {}@127.0.0.1 -p {port}", options.user));
    let words = words(options, port);
    let ended = off_thread(move || Command::new("ssh").args(words).status()).await?;
    forward.close().await;
    Ok(match ended {
        Ok(status) => Exit::of_program(code(status)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            report.talk("error: there is no program ssh");
            Exit::of_program(127)
        }
        Err(e) => return Err(Error::system("run", "ssh", e)),
    })
}

fn proxy(host: &TunnelHostPlace, options: &TunnelSsh) -> Result<SshProxy> {
    let at = HostPort { host: host_name(host)?, port: options.proxy_port };
    let token = token(options.token.token_file.as_deref())?;
    if token.is_some() && !options.token.insecure && !is_loopback(&at.host) {
        return Err(Error::config("the token would go over a network in the clear")
            .hint("go through a port that leads there under encryption, or say --insecure"));
    }
    Ok(SshProxy { at, task: task(&options.task)?, token })
}

/// Standard input and output as the stream, for a ProxyCommand.
async fn pipe(stream: Connected) -> Result<Exit> {
    let (mut from, mut to) = split(stream.io);
    let up = async {
        let _ = copy(&mut stdin(), &mut to).await;
        let _ = to.shutdown().await;
        std::future::pending::<()>().await;
    };
    let down = async {
        let mut out = stdout();
        copy(&mut from, &mut out).await?;
        out.flush().await
    };
    tokio::select! {
        () = up => Ok(Exit::OK),
        done = down => done.map(|()| Exit::OK).map_err(|e| Error::system("read", "the SSH server", e)),
    }
}

fn words(options: &TunnelSsh, port: u16) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    let key = options.key.clone().or_else(|| usual_key(&options.task));
    if let Some(key) = key {
        words.extend(["-i".into(), key.into()]);
    }
    // The port is another each time; the server is the same.
    let alias = format!("HostKeyAlias=kohakuriver-vps-{}", options.task);
    words.extend(["-o".into(), alias.into(), "-p".into(), port.to_string().into()]);
    words.push(format!("{}@127.0.0.1", options.user).into());
    words.extend(options.words.iter().cloned());
    words
}

fn usual_key(task: &str) -> Option<PathBuf> {
    let key = std::env::home_dir()?.join(".ssh").join(format!("id-kohakuriver-{task}"));
    key.is_file().then_some(key)
}

fn code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

pub(super) fn ssh_config(
    host: &TunnelHostPlace,
    options: &TunnelSshConfig,
    report: &Report,
) -> Result<Exit> {
    let name = host_name(host)?;
    let mut blocks = String::new();
    for id in &options.tasks {
        let id = task(id)?;
        let key = usual_key(&id).map(|key| format!("    IdentityFile {}\n", key.display()));
        blocks.push_str(&format!(
            "Host kohakuriver-vps-{id}\n    User {}\n    HostKeyAlias kohakuriver-vps-{id}\n{}    \
             ProxyCommand alknet tunnel -H {name} ssh --stdio --proxy-port {} {id}\n\n",
            options.user,
            key.unwrap_or_default(),
            options.proxy_port,
        ));
    }
    match &options.output {
        None => report.raw(blocks.as_bytes()),
        Some(path) => write(path, &blocks)?,
    }
    Ok(Exit::OK)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|e| Error::system("open", &path.display().to_string(), e))
}
