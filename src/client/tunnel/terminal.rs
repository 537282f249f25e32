//! Terminals of tasks, through a host.

use crate::error::Result;
use crate::http::segment;
use crate::tunnel::{Manner, Near, Url, reach};

/// Asks a host for the terminal of a task.
///
/// # Errors
/// Those of a dial, and `ERR_ALKNET_AUTH_REJECTED`; why there is no terminal is told once it runs.
pub(crate) async fn terminal(
    host: &Url,
    task: &str,
    token: Option<&str>,
    manner: Manner,
) -> Result<Near> {
    let path = format!("/ws/task/{}/terminal", segment(task));
    Ok(Near(reach(host, &path, token, manner).await?.0))
}
