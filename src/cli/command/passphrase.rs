//! The passphrase of a key: from a file that was named, else asked for on the terminal. Never on the command line.

use std::path::Path;

use zeroize::Zeroizing;

use crate::auth::{KeySource, Passphrase};
use crate::client::inspect_key;
use crate::error::{Error, Phase, Result};
use crate::scope::off_thread;

/// The passphrase, when `key` needs one and there is a way to have it: `file`, else the terminal, if somebody may be asked.
///
/// # Errors
/// What is wrong with the key or the file.
pub(super) async fn passphrase(
    key: &KeySource,
    file: Option<&Path>,
    insecure_permissions: bool,
    may_ask: bool,
) -> Result<Option<Passphrase>> {
    let info = inspect_key(key, insecure_permissions).await?;
    match file {
        _ if !info.encrypted => Ok(None),
        Some(path) => from_file(path).map(Some),
        None if !may_ask => Ok(None),
        None => {
            let prompt = format!("Passphrase of {key:?}: ");
            let asked = off_thread(move || rpassword::prompt_password(prompt)).await?;
            // Without a terminal there is nobody to ask; the key's own error then says what it lacks.
            Ok(asked.ok().map(|text| Passphrase::new(Zeroizing::new(text).as_bytes())))
        }
    }
}

fn from_file(path: &Path) -> Result<Passphrase> {
    let shown = path.display().to_string();
    let failed = |e| Error::system("open", &shown, e).at(Phase::Config);
    let text = Zeroizing::new(std::fs::read(path).map_err(failed)?);
    let line = text.strip_suffix(b"\n").unwrap_or(&text);
    Ok(Passphrase::new(line.strip_suffix(b"\r").unwrap_or(line)))
}
