//! `alknet forward logs`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::one;
use super::outcome::Outcome;
use crate::cli::Control;
use crate::cli::args::ForwardLogs;
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::error::{Error, Phase, Result};
use crate::manage::{Forwarders, Place};

/// What is read of a log at most: more than a log has before it is put aside.
const LONGEST: u64 = 4 * 1024 * 1024;

/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(250);

pub(super) fn logs(forwarders: &Forwarders, options: &ForwardLogs) -> Result<Outcome> {
    let path = forwarders.place.log(&chosen(forwarders, options)?);
    let (text, _) = read(&path, 0)?;
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(options.lines)..];
    let data = json!({ "log_file": path, "lines": last });
    Ok(Outcome::one(true, data, last.join("\n")))
}

pub(super) async fn print(
    options: &ForwardLogs,
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    let forwarders = Forwarders { place: Place::of_user()? };
    let path = forwarders.place.log(&chosen(&forwarders, options)?);
    let (text, mut read_to) = read(&path, 0)?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    report.raw(lines[lines.len().saturating_sub(options.lines)..].concat().as_bytes());
    if !options.follow {
        return Ok(Exit::OK);
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = control.draining() => return Ok(Exit::OK),
            unheard = report.unheard() => return Ok(unheard),
        }
        let (text, to) = read(&path, read_to)?;
        report.raw(text.as_bytes());
        read_to = to;
    }
}

/// Of one that is gone there may be a log still.
fn chosen(forwarders: &Forwarders, options: &ForwardLogs) -> Result<String> {
    let chosen = one(forwarders, &options.pick);
    match (&chosen, super::word(&options.pick)) {
        (Err(_), Some(word))
            if !word.contains(['/', '.']) && forwarders.place.log(&word).exists() =>
        {
            Ok(word)
        }
        _ => chosen,
    }
}

/// What is in the file from `at` on, and where that ends. A file that got shorter was begun anew.
fn read(path: &Path, at: u64) -> Result<(String, u64)> {
    let shown = path.display().to_string();
    let failed = |e| Error::system("open", &shown, e).at(Phase::Config);
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let from = if length < at { 0 } else { at.max(length.saturating_sub(LONGEST)) };
    file.seek(SeekFrom::Start(from)).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), from + bytes.len() as u64))
}
