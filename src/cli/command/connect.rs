//! `alknet connect`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

#[cfg(unix)]
use super::background;
use super::first_use;
use super::peer::reach;
use super::ready::ready;
use super::stdio::stdio;
use super::wishes::Wishes;
use crate::cli::Control;
use crate::cli::args::{Connect, DEFAULT_SOCKS5};
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::client::{
    ChannelManager, ConnectOptions, ForwardOptions, LocalForwarder, Reconnect, RemoteForwarder,
    Route, SocksForwarder, Standing,
};
use crate::config::Bind;
use crate::error::{Code, Error, Result};
use crate::target::Target;

/// How long a drain waits for connections to end by themselves.
const DRAIN: Duration = Duration::from_secs(2);

pub(in crate::cli) async fn connect(
    options: &Connect,
    words: &[OsString],
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    options.reflexes.check()?;
    let background = options.reflexes.background();
    if background && options.stdio.is_some() {
        return Err(Error::config("-f: a stream on standard input stays with it"));
    }
    #[cfg(unix)]
    if background && !background::is_here() {
        return background::start(words, report, control).await;
    }
    let (mut to, wishes) = reach(&options.peer).await?;
    // A unit of `alknet up` has no words, and shares its terminal with others.
    let asks = !words.is_empty() && !report.is_json() && first_use::may_ask(&options.peer, &wishes);
    match attempt(&to, options, &wishes, report, control).await {
        Err(error) if asks => {
            tokio::select! {
                answered = first_use::ask(error, &mut to) => answered?,
                () = control.draining() => return Ok(Exit::OK),
            }
            attempt(&to, options, &wishes, report, control).await
        }
        done => done,
    }
}

async fn attempt(
    to: &ConnectOptions,
    options: &Connect,
    wishes: &Wishes,
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    let working = async {
        match &options.stdio {
            Some(target) => pipe(to, target).await,
            None => session(to, options, wishes, report, control).await,
        }
    };
    // A stream on standard input and output ends by its ends; for it a signal is the end.
    tokio::select! {
        done = working => done,
        () = control.draining(), if options.stdio.is_some() => Ok(Exit::OK),
    }
}

async fn pipe(to: &ConnectOptions, target: &str) -> Result<Exit> {
    let target: Target = target.parse()?;
    let stream = crate::client::connect(to, &target).await?;
    stdio(stream).await?;
    Ok(Exit::OK)
}

async fn session(
    to: &ConnectOptions,
    options: &Connect,
    wishes: &Wishes,
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    let background = options.reflexes.background();
    // Who waits for it to be in the background wants to hear that it cannot be.
    let once = options.once || background;
    let reconnect = Reconnect { from_the_start: !once, ..Reconnect::default() };
    let manager = tokio::select! {
        manager = ChannelManager::new(to, reconnect) => manager?,
        () = control.draining() => return Ok(Exit::OK),
    };
    let forwards = forwards(to, options, wishes, &manager, report).await?;
    report.event("ready", json!({}), "ready");
    ready(options.ready.ready_fd)?;
    #[cfg(unix)]
    if background {
        background::leave();
    }
    let ended = tokio::select! {
        ended = follow(&manager, report) => Some(ended),
        () = control.draining() => None,
    };
    drain(&manager, &forwards).await;
    match ended {
        Some(Some(error)) => Err(error),
        _ => Ok(Exit::OK),
    }
}

/// What listens, here and at the server's end.
#[derive(Default)]
struct Forwards {
    socks: Vec<SocksForwarder>,
    local: Vec<LocalForwarder>,
    remote: Vec<RemoteForwarder>,
}

async fn forwards(
    to: &ConnectOptions,
    options: &Connect,
    wishes: &Wishes,
    manager: &ChannelManager,
    report: &Report,
) -> Result<Forwards> {
    let bounds = ForwardOptions {
        udp_idle: Duration::from_secs(u64::from(options.udp_idle)),
        replace_stale_socket: wishes.replace_socket == Some(true),
        family: to.family,
        ..ForwardOptions::default()
    };
    let strict = options.exit_on_forward_failure || wishes.exit_on_forward_failure == Some(true);
    let mut forwards = Forwards::default();
    for place in proxies(options, wishes) {
        let socks = SocksForwarder::start(place, None, manager, &bounds).await?;
        told_of("socks5", &place.to_string(), socks.addresses(), "SOCKS5", report);
        forwards.socks.push(socks);
    }
    for spec in options.forward.iter().chain(&wishes.local) {
        let forward = LocalForwarder::start(spec, manager, &bounds).await?;
        let what = forward.to_string();
        told_of("forward", &spec.to_string(), forward.addresses(), &what, report);
        forwards.local.push(forward);
    }
    for spec in options.remote_forward.iter().chain(&wishes.remote) {
        match RemoteForwarder::keep(spec, manager, Route::direct(), &bounds).await {
            Ok(forward) => {
                let port = forward.port();
                let text = match port {
                    Some(port) if port > 0 => format!("the server listens on port {port}"),
                    _ => "the server listens".to_owned(),
                };
                let fields =
                    json!({ "kind": "remote-forward", "spec": spec.to_string(), "port": port });
                report.event("listening", fields, &format!("{text} for {forward}"));
                forwards.remote.push(forward);
            }
            Err(error) if strict => return Err(error),
            Err(error) => {
                let (fields, why) = told(Some(&error));
                report.event("refused", fields, &format!("-R {spec}: {why}"));
            }
        }
    }
    Ok(forwards)
}

/// Where proxies listen: a wish for one takes the place of the one that is there by default.
fn proxies<'a>(options: &'a Connect, wishes: &'a Wishes) -> impl Iterator<Item = &'a Bind> {
    let is_default = matches!(&options.socks5[..], [one] if one.to_string() == DEFAULT_SOCKS5);
    let own = !options.no_socks5 && (wishes.dynamic.is_empty() || !is_default);
    let own = if own { &options.socks5[..] } else { &[] };
    own.iter().chain(&wishes.dynamic)
}

fn told_of(kind: &str, spec: &str, at: &[SocketAddr], what: &str, report: &Report) {
    let at: Vec<String> = at.iter().map(ToString::to_string).collect();
    let place = if at.is_empty() { spec.to_owned() } else { at.join(" and ") };
    let fields = json!({ "kind": kind, "spec": spec, "addresses": at });
    report.event("listening", fields, &format!("listening on {place} for {what}"));
}

/// Tells of every loss and return, until it is over for good: why, if that was a failure.
async fn follow(manager: &ChannelManager, report: &Report) -> Option<Error> {
    let mut watch = manager.watch();
    let mut up = false;
    loop {
        let standing = watch.borrow_and_update().clone();
        match standing {
            Standing::Up(session) => {
                up = true;
                let peer = session.info().peer.clone();
                report.event("up", json!({ "peer": peer }), &format!("connected to {peer}"));
            }
            Standing::Down(why) if up => {
                up = false;
                let (fields, why) = told(why.as_ref());
                report.event("down", fields, &format!("connection lost: {why}; connecting again"));
            }
            Standing::Down(_) => {}
            Standing::Closed(why) => return why,
        }
        if watch.changed().await.is_err() {
            return Some(Error::new(Code::SessionClosed, "the session is closed"));
        }
    }
}

fn told(why: Option<&Error>) -> (Value, String) {
    match why {
        Some(error) => {
            let message = error.to_string();
            (json!({ "code": error.code().as_str(), "message": message }), message)
        }
        None => (json!({}), "no reason is known".into()),
    }
}

/// Stops listening, lets connections end by themselves for a while, then ends them; at once when there are none.
async fn drain(manager: &ChannelManager, forwards: &Forwards) {
    let Forwards { socks, local, remote } = forwards;
    tokio::join!(
        join_all(socks.iter().map(SocksForwarder::stop_listening)),
        join_all(local.iter().map(LocalForwarder::stop_listening)),
        join_all(remote.iter().map(RemoteForwarder::stop_listening)),
    );
    tokio::join!(
        join_all(socks.iter().map(|forward| forward.drain(DRAIN))),
        join_all(local.iter().map(|forward| forward.drain(DRAIN))),
        join_all(remote.iter().map(|forward| forward.drain(DRAIN))),
    );
    tokio::join!(
        join_all(socks.iter().map(SocksForwarder::close)),
        join_all(local.iter().map(LocalForwarder::close)),
        join_all(remote.iter().map(RemoteForwarder::close)),
    );
    manager.close().await;
}
