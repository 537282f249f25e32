//! `-F`: what a file of ssh_config(5) says of a server. ssh itself reads it (`ssh -G`, which connects to nothing), so that hosts, patterns,
//! `Match`, `Include` and tokens mean what they mean there: a second reader would differ where it matters, in whom a line is for.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::wishes::Wishes;
use crate::error::{Code, Error, Phase, Result};
use crate::scope::off_thread;

/// How long ssh may take: a line `Match exec` runs a program.
const LIMIT: Duration = Duration::from_secs(10);

/// The most of its output that is read.
const LONGEST: u64 = 1024 * 1024;

/// What ssh makes of other lines.
const DERIVED: [&str; 2] = ["host", "updatehostkeys"];

/// Which server it is about, as it was named.
pub(super) struct Asked<'a> {
    pub(super) host: &'a str,
    pub(super) user: Option<&'a str>,
    pub(super) port: Option<u16>,
}

/// What `file` says of a server, and ssh's own defaults do not.
///
/// # Errors
/// `ERR_ALKNET_CONFIG` with what ssh says of the file, and for what must not be ignored; `ENOENT` without an ssh; `ETIMEDOUT`.
pub(super) async fn look_up(file: &Path, asked: &Asked<'_>) -> Result<Wishes> {
    if file.file_name().is_some_and(|name| name == "none") && !file.exists() {
        return Ok(Wishes::default());
    }
    let (said, unsaid) = (ask(file, asked).await?, ask(Path::new("none"), asked).await?);
    let mut wishes = Wishes::default();
    let mut ignored = Vec::new();
    // Who logs in is ssh's business also where it goes without saying: here, another might.
    let is_said =
        |keyword: &String, values| keyword == "user" || unsaid.get(keyword) != Some(values);
    for (keyword, values) in said.iter().filter(|(keyword, values)| is_said(keyword, *values)) {
        if !wishes.take_from_file(keyword, values)? && !DERIVED.contains(&keyword.as_str()) {
            ignored.push(keyword.as_str());
        }
    }
    if !ignored.is_empty() {
        tracing::info!(
            keywords = ignored.join(" "),
            "lines of the ssh_config have no meaning here"
        );
    }
    Ok(wishes)
}

/// Every keyword, in small letters, with its values.
type Keywords = BTreeMap<String, Vec<String>>;

async fn ask(file: &Path, asked: &Asked<'_>) -> Result<Keywords> {
    let mut command = Command::new("ssh");
    command.arg("-G").arg("-F").arg(file);
    if let Some(user) = asked.user {
        command.args(["-l", user]);
    }
    if let Some(port) = asked.port {
        command.args(["-p", &port.to_string()]);
    }
    // -T: otherwise it complains of having no terminal.
    command.args(["-T", "--", asked.host]);
    let pipes = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |e| {
        let error = Error::system("spawn", "ssh", e).at(Phase::Config);
        error.hint("-F has ssh read the file; without an ssh, say it by options")
    };
    let mut running = Running(pipes.spawn().map_err(failed)?);
    let (out, err) = (running.0.stdout.take(), running.0.stderr.take());
    let reading = async { tokio::join!(off_thread(|| text(out)), off_thread(|| text(err))) };
    let Ok((out, err)) = tokio::time::timeout(LIMIT, reading).await else {
        let message = format!("ssh did not read {} within 10 s", file.display());
        return Err(Error::new(Code::System("ETIMEDOUT"), message).at(Phase::Config));
    };
    let (out, err) = (out?, err?);
    match running.0.wait() {
        Ok(status) if status.success() => Ok(keywords(&out)),
        _ => Err(Error::config(format!("ssh does not take {}: {}", file.display(), err.trim()))),
    }
}

/// Killed when dropped before its end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(from: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What was read before a failure says enough.
        let _ = from.take(LONGEST).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn keywords(text: &str) -> Keywords {
    let mut all = Keywords::new();
    for (keyword, value) in text.lines().filter_map(|line| line.split_once(' ')) {
        all.entry(keyword.to_ascii_lowercase()).or_default().push(value.trim().to_owned());
    }
    all
}
