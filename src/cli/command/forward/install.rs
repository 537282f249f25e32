//! `alknet forward start --install`: a forwarder that comes back when the user logs in, by a unit of systemd or an agent of launchd.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::outcome::Outcome;
use crate::cli::given::words;
use crate::cli::parse::built;
use crate::error::{Error, Phase, Result};
use crate::manage::Wanted;
use crate::scope::off_thread;

use super::start::said;

/// Who starts programs for a user here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeper {
    Systemd,
    Launchd,
}

const HERE: Keeper = if cfg!(target_os = "macos") { Keeper::Launchd } else { Keeper::Systemd };

/// Writes the unit, has it started now and at every log-in.
///
/// # Errors
/// `ERR_ALKNET_CONFIG` for a forwarder without a name or port to know it by; what the service manager says.
pub(super) async fn install(wanted: &Wanted, program: &[OsString]) -> Result<Outcome> {
    let id = id(wanted)?;
    let path = place(&id)?;
    let text = unit(&id, wanted, program);
    let written = path.clone();
    off_thread(move || {
        let failed =
            |e| Error::system("write", &written.display().to_string(), e).at(Phase::Config);
        if let Some(folder) = written.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options
            .open(&written)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(failed)?;
        tell(&enabling(&id, &written))
    })
    .await??;
    let message = format!("Forwarder installed ({})", path.display());
    Ok(Outcome::one(true, json!({ "message": message, "unit_file": path }), message))
}

/// Has it ended, and takes the unit away.
///
/// # Errors
/// As [`install`]; `ERR_ALKNET_FORWARDER_NOT_FOUND` when it was not installed.
pub(super) async fn uninstall(wanted: &Wanted) -> Result<Outcome> {
    let id = id(wanted)?;
    let path = place(&id)?;
    if !path.exists() {
        let code = crate::error::Code::ForwarderNotFound;
        return Err(Error::new(code, format!("there is no {}", path.display())));
    }
    let removed = path.clone();
    off_thread(move || {
        tell(&disabling(&id, &removed))?;
        let failed = |e| Error::system("unlink", &removed.display().to_string(), e);
        std::fs::remove_file(&removed).map_err(failed)?;
        if HERE == Keeper::Systemd { tell(&[said_to(&["daemon-reload"])]) } else { Ok(()) }
    })
    .await??;
    let message = format!("Forwarder uninstalled ({})", path.display());
    Ok(Outcome::one(true, json!({ "message": message, "unit_file": path }), message))
}

fn id(wanted: &Wanted) -> Result<String> {
    wanted.id()?.ok_or_else(|| {
        Error::config("a forwarder that is installed needs a port or a name").hint("--name web")
    })
}

fn place(id: &str) -> Result<PathBuf> {
    let home = || Error::config("there is no home to install it in").hint("set HOME");
    let home_dir = std::env::home_dir().filter(|home| home.is_absolute());
    match HERE {
        Keeper::Launchd => {
            let agents = home_dir.ok_or_else(home)?.join("Library/LaunchAgents");
            Ok(agents.join(format!("{}.plist", label(id))))
        }
        Keeper::Systemd => {
            let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
            let config = config.filter(|path| path.is_absolute());
            let config = config.or_else(|| Some(home_dir?.join(".config"))).ok_or_else(home)?;
            Ok(config.join("systemd/user").join(format!("{}.service", label(id))))
        }
    }
}

fn label(id: &str) -> String {
    format!("alknet-forwarder-{id}")
}

fn unit(id: &str, wanted: &Wanted, program: &[OsString]) -> String {
    let start = words(&built(), &["forward", "start"], &said(wanted));
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    let program: Vec<String> = program.iter().map(text).collect();
    let mut starting = program.clone();
    starting.extend(start.iter().skip(1).map(text));
    let mut stopping = program;
    stopping.extend(["forward", "stop", id].map(str::to_owned));
    let home = std::env::var("ALKNET_HOME").ok();
    match HERE {
        Keeper::Systemd => service(id, &starting, &stopping, home.as_deref()),
        Keeper::Launchd => agent(id, &starting, home.as_deref()),
    }
}

/// systemd.service(5): the process that `start` leaves behind is the service's main one.
fn service(id: &str, starting: &[String], stopping: &[String], home: Option<&str>) -> String {
    let line = |words: &[String]| words.iter().map(|w| quoted(w)).collect::<Vec<_>>().join(" ");
    let environment = home
        .map(|home| format!("Environment={}\n", quoted(&format!("ALKNET_HOME={home}"))))
        .unwrap_or_default();
    format!(
        "[Unit]\nDescription=alknet forwarder {id}\n\n\
         [Service]\nType=forking\n{environment}ExecStart={}\nExecStop={}\nRestart=on-failure\nRestartSec=5\n\n\
         [Install]\nWantedBy=default.target\n",
        line(starting),
        line(stopping)
    )
}

/// systemd.syntax(7): quotes, and the signs that would be expanded.
fn quoted(word: &str) -> String {
    let mut quoted = String::from("\"");
    for sign in word.chars() {
        match sign {
            '"' | '\\' => quoted.extend(['\\', sign]),
            '%' | '$' => quoted.extend([sign, sign]),
            sign => quoted.push(sign),
        }
    }
    quoted + "\""
}

/// launchd.plist(5): what `start` leaves behind is not ended with it.
fn agent(id: &str, starting: &[String], home: Option<&str>) -> String {
    let strings: String =
        starting.iter().map(|word| format!("    <string>{}</string>\n", escaped(word))).collect();
    let environment = home
        .map(|home| {
            let home = escaped(home);
            format!("  <key>EnvironmentVariables</key>\n  <dict><key>ALKNET_HOME</key><string>{home}</string></dict>\n")
        })
        .unwrap_or_default();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n  <key>Label</key>\n  <string>{}</string>\n  \
         <key>ProgramArguments</key>\n  <array>\n{strings}  </array>\n{environment}  \
         <key>RunAtLoad</key>\n  <true/>\n  <key>AbandonProcessGroup</key>\n  <true/>\n</dict>\n</plist>\n",
        label(id)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn enabling(id: &str, path: &Path) -> Vec<Vec<String>> {
    match HERE {
        Keeper::Systemd => {
            let unit = format!("{}.service", label(id));
            vec![said_to(&["daemon-reload"]), said_to(&["enable", "--now", &unit])]
        }
        Keeper::Launchd => {
            vec![["launchctl", "load", "-w", &path.display().to_string()].map(str::to_owned).into()]
        }
    }
}

fn disabling(id: &str, path: &Path) -> Vec<Vec<String>> {
    match HERE {
        Keeper::Systemd => vec![said_to(&["disable", "--now", &format!("{}.service", label(id))])],
        Keeper::Launchd => {
            vec![
                ["launchctl", "unload", "-w", &path.display().to_string()]
                    .map(str::to_owned)
                    .into(),
            ]
        }
    }
}

fn said_to(words: &[&str]) -> Vec<String> {
    ["systemctl", "--user"].iter().chain(words).map(|word| (*word).to_owned()).collect()
}

/// Runs programs one after another, until one fails.
fn tell(commands: &[Vec<String>]) -> Result<()> {
    for words in commands {
        let Some((program, rest)) = words.split_first() else { continue };
        let done = Command::new(program).args(rest).output().map_err(|e| {
            Error::system("spawn", program, e).hint("--install needs systemd or launchd of a user")
        })?;
        if !done.status.success() {
            let why = String::from_utf8_lossy(&done.stderr).trim().to_owned();
            let message = format!("{} failed: {why}", words.join(" "));
            return Err(Error::new(crate::error::Code::System("ECHILD"), message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_word_is_expanded_by_systemd() {
        assert_eq!(quoted("a b"), "\"a b\"");
        assert_eq!(quoted("50%$HOME\\\""), "\"50%%$$HOME\\\\\\\"\"");
    }

    #[test]
    fn an_agent_is_well_formed_whatever_its_words() {
        let text = agent("web", &["/a&b".into(), "<x>".into()], Some("/h"));
        assert!(text.contains("<string>/a&amp;b</string>") && text.contains("&lt;x&gt;"), "{text}");
        assert!(text.contains("<string>alknet-forwarder-web</string>"), "{text}");
    }

    #[test]
    fn an_agent_says_to_a_reader_of_property_lists_what_was_meant() {
        let words = ["/opt/a & b/alknet", "forward", "start", "--target-host=<\"x'>"];
        let text = agent("web", &words.map(str::to_owned), Some("/h & h"));
        let script =
            "import json, plistlib, sys; print(json.dumps(plistlib.loads(sys.argv[1].encode())))";
        let Ok(read) = Command::new("python3").args(["-c", script, &text]).output() else {
            assert!(std::env::var_os("CI").is_none(), "python3 is missing");
            return;
        };
        let told: serde_json::Value = serde_json::from_slice(&read.stdout).expect("a list");
        let meant = json!({
            "Label": "alknet-forwarder-web",
            "ProgramArguments": words,
            "EnvironmentVariables": { "ALKNET_HOME": "/h & h" },
            "RunAtLoad": true,
            "AbandonProcessGroup": true,
        });
        assert_eq!(told, meant);
    }
}
