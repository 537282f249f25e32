//! `alknet tunnel connect`.

use std::time::Duration;

use tokio::io::{AsyncReadExt, stdin, stdout};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::escape::{Escapes, Typed};
use super::place::{task, url};
use super::tty::{Raw, size, tidy};
use super::{ca, token};
use crate::cli::Control;
use crate::cli::args::{TunnelHostPlace, TunnelTerminal};
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::client::terminal;
use crate::error::{Error, Result};
use crate::tunnel::{Key, Manner, Utf8};

/// What `ssh` ends with when its connection was lost, or left by an escape.
const LEFT: u8 = 255;

/// Keys and sizes that wait to be sent.
const WAITING: usize = 16;

/// End of input, as a terminal types it.
const END: &str = "\u{4}";

/// How often it is typed.
const AGAIN: Duration = Duration::from_millis(500);

pub(super) async fn connect(
    host: &TunnelHostPlace,
    options: &TunnelTerminal,
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    let (url, id) = (url(host)?, task(&options.task)?);
    let token = token(options.token.token_file.as_deref())?;
    let sign = sign(&options.escape)?;
    let manner = Manner {
        insecure: options.token.insecure,
        ca: ca(options.trusted.tls_ca.as_deref())?,
        name: None,
    };
    let opening = terminal(&url, &id, token.as_deref(), manner);
    let near = tokio::select! {
        near = opening => near?,
        () = control.draining() => return Ok(Exit::OK),
    };
    let resized = signal(SignalKind::window_change());
    let resized = resized.map_err(|e| Error::system("watch", "the terminal's size", e))?;
    let raw = Raw::new()?;
    // Without a terminal too, or the runner would wait for it.
    let size = raw.as_ref().and_then(|_| size()).unwrap_or_default();
    let (keys, typed) = mpsc::channel(WAITING);
    let user = User { raw, escapes: Escapes::new(sign), keys };
    let ended = tokio::select! {
        ended = near.run(size, typed, stdout()) => ended,
        left = user.types(resized) => left.map(|()| None),
        () = control.draining() => Ok(None),
    };
    // The terminal is as it was by now: the user has gone with its future.
    match ended {
        Ok(Some(code)) => Ok(Exit::of_program(code)),
        Ok(None) => {
            tidy();
            report.talk("connection closed");
            Ok(Exit::of_program(LEFT))
        }
        Err(error) => {
            tidy();
            Err(error)
        }
    }
}

fn sign(text: &str) -> Result<Option<u8>> {
    match text.as_bytes() {
        b"none" => Ok(None),
        [sign] if sign.is_ascii_graphic() => Ok(Some(*sign)),
        _ => Err(Error::config(format!("escape {text:?}: one sign, or none"))),
    }
}

/// Who sits at the terminal.
struct User {
    /// `None` when nobody does: then keys are all that standard input has.
    raw: Option<Raw>,
    escapes: Escapes,
    keys: mpsc::Sender<Key>,
}

impl User {
    /// Until the user leaves.
    async fn types(mut self, mut resized: Signal) -> Result<()> {
        let mut input = stdin();
        let mut utf8 = Utf8::default();
        let mut bytes = vec![0; 4096];
        let mut line_begins = true;
        loop {
            tokio::select! {
                read = input.read(&mut bytes) => match read {
                    Ok(n @ 1..) if self.raw.is_some() => {
                        for typed in self.escapes.read(&bytes[..n]) {
                            if !self.does(typed, &mut utf8).await? {
                                return Ok(());
                            }
                        }
                    }
                    Ok(n @ 1..) => {
                        line_begins = bytes[n - 1] == b'\n';
                        self.key(Key::Text(utf8.push(&bytes[..n]))).await;
                    }
                    // The terminal itself has gone.
                    Ok(0) | Err(_) if self.raw.is_some() => return Ok(()),
                    Ok(_) | Err(_) => {
                        return self.ends(line_begins).await;
                    }
                },
                _ = resized.recv() => self.tell_size().await,
            }
        }
    }

    /// There are no more keys, and whoever reads is told so: again and again, as one that comes before a shell has set its terminal up
    /// is lost, and a terminal has no end of its own.
    async fn ends(&self, line_begins: bool) -> Result<()> {
        if !line_begins {
            // In the middle of a line once ends the line and no more.
            self.key(Key::Text(END.to_owned())).await;
        }
        loop {
            self.key(Key::Text(END.to_owned())).await;
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// False when the user leaves.
    async fn does(&self, typed: Typed, utf8: &mut Utf8) -> Result<bool> {
        match typed {
            Typed::Keys(keys) => self.key(Key::Text(utf8.push(&keys))).await,
            Typed::Leave => return Ok(false),
            Typed::Suspend => {
                if let Some(raw) = &self.raw {
                    raw.suspend()?;
                }
                self.tell_size().await;
            }
            Typed::Help => {
                let help = "\r\n~.  leave\r\n~^Z suspend\r\n~~  one ~\r\n~?  this help\r\n";
                super::tty::say(help);
            }
        }
        Ok(true)
    }

    async fn tell_size(&self) {
        if let (Some(_), Some(size)) = (&self.raw, size()) {
            self.key(Key::Size(size)).await;
        }
    }

    async fn key(&self, key: Key) {
        // Fails once the shell has ended.
        let _ = self.keys.send(key).await;
    }
}
