//! `alknet tunnel inject`: what puts the agent into a container.

use serde_json::json;

use crate::cli::args::TunnelInject;
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::error::{Error, Result};
use crate::tunnel::Url;

/// Where the originals mount the agent.
const PROGRAM: &str = "/usr/local/bin/tunnel-client";

/// Where a token is mounted.
const TOKEN: &str = "/run/tunnel-token";

pub(super) fn inject(options: &TunnelInject, report: &Report) -> Result<Exit> {
    options.runner_url.parse::<Url>()?;
    let kind = if options.vps { "vps" } else { "task" };
    let name = format!("kohakuriver-{kind}-{}", options.task);
    let binary = match &options.binary {
        Some(path) => path.clone(),
        None => std::env::current_exe().map_err(|e| Error::system("find", "this program", e))?,
    };
    let binary = binary.display().to_string();
    let mut mounts = vec![format!("{binary}:{PROGRAM}:ro")];
    let mut environment =
        vec![format!("RUNNER_URL={}", options.runner_url), format!("CONTAINER_ID={name}")];
    if let Some(token) = &options.token_file {
        mounts.push(format!("{}:{TOKEN}:ro", token.display()));
        environment.push(format!("ALKNET_TUNNEL_TOKEN_FILE={TOKEN}"));
    }
    // As the originals do: in the background, its words in a file, and the command runs in any case.
    let wrapped = format!("{PROGRAM} >/tmp/tunnel-client.log 2>&1 & sleep 0.1; exec \"$@\"");
    let mut container = vec!["run".to_owned()];
    mounts.iter().for_each(|mount| container.extend(["-v".into(), mount.clone()]));
    environment.iter().for_each(|pair| container.extend(["-e".into(), pair.clone()]));
    let (image, command) = match options.words.split_first() {
        Some((image, command)) => (image.clone(), command.to_vec()),
        None => ("IMAGE".to_owned(), vec!["COMMAND".to_owned()]),
    };
    container.push(image);
    container.extend(["/bin/sh", "-c", &wrapped, "sh"].map(str::to_owned));
    container.extend(command);
    let line: Vec<String> = container.iter().map(|word| quoted(word)).collect();
    let line = line.join(" ");
    let value = json!({
        "container": name,
        "mounts": mounts,
        "environment": environment,
        "command": ["/bin/sh", "-c", wrapped, "sh"],
        "docker": format!("docker {line}"),
        "podman": format!("podman {line}"),
    });
    report.result(&value, &format!("docker {line}\npodman {line}"));
    Ok(Exit::OK)
}

/// One word for a shell.
fn quoted(word: &str) -> String {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || "-_./:=@%+,".contains(sign);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for (word, expected) in [
            ("a-b:/c", "a-b:/c"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$x", "'$x'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
