//! Which task is where: a file of the operator's, as the host's two tables would have it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::socket::Url;
use crate::error::{Error, Phase, Result};
use crate::target::HostPort;

/// `{"nodes": {NAME: {"url", "status", "token"}}, "tasks": {ID: {"type", "status", "node", "ssh_port", "address", "container"}}}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registry {
    #[serde(default)]
    nodes: BTreeMap<String, Node>,
    #[serde(default)]
    tasks: BTreeMap<String, Task>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    /// Of its runner: `ws://node:8001`, or with http.
    url: String,
    #[serde(default = "online")]
    status: String,
    /// What this host shows the runner.
    #[serde(default)]
    token: Option<String>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("status", &self.status).finish_non_exhaustive()
    }
}

/// One task.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Task {
    #[serde(rename = "type", default = "command")]
    pub(crate) kind: Kind,
    #[serde(default = "running")]
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) node: Option<String>,
    #[serde(default)]
    pub(crate) ssh_port: Option<u16>,
    /// Of a virtual machine: dialled from here.
    #[serde(default)]
    pub(crate) address: Option<String>,
    /// Where the agent calls itself something else than the task's id says.
    #[serde(default)]
    container: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Command,
    Vps,
    Vm,
}

impl Task {
    fn name(&self, id: i64) -> String {
        self.container.clone().unwrap_or_else(|| self.kind.container(id))
    }
}

impl Kind {
    /// What the original calls the container of a task.
    fn container(self, id: i64) -> String {
        match self {
            Self::Command => format!("kohakuriver-task-{id}"),
            Self::Vps => format!("kohakuriver-vps-{id}"),
            Self::Vm => format!("vm-{id}"),
        }
    }
}

/// The task whose container is called so, as the originals call them.
pub(crate) fn task_of(container: &str) -> Option<i64> {
    let name = container.strip_prefix("kohakuriver-")?;
    let number = name.strip_prefix("task-").or_else(|| name.strip_prefix("vps-"))?;
    // As it is written, or one of another name would be taken for it.
    number.parse().ok().filter(|id: &i64| *id >= 0 && id.to_string() == number)
}

/// What `/api/status/ID` answers of a task that is known by its agent alone.
pub(crate) fn status_of_agent(id: i64, container: &str, node: &str) -> Value {
    let kind = if container.contains("-vps-") { "vps" } else { "command" };
    json!({
        "task_id": id.to_string(),
        "task_type": kind,
        "status": "running",
        "assigned_node": node,
        "ssh_port": null,
    })
}

fn online() -> String {
    "online".to_owned()
}

fn running() -> String {
    "running".to_owned()
}

fn command() -> Kind {
    Kind::Command
}

/// Where a task's sessions go.
pub(crate) enum Place {
    Runner {
        url: Url,
        container: String,
        token: Option<String>,
    },
    /// Straight to a machine.
    Direct(HostPort),
}

/// A container at its runner.
pub(crate) struct RunnerPlace {
    pub(crate) url: Url,
    pub(crate) container: String,
    pub(crate) token: Option<String>,
}

/// An SSH server, and the node that it is on.
#[derive(Debug)]
pub(crate) struct SshPlace {
    pub(crate) at: HostPort,
    pub(crate) node: String,
}

impl Registry {
    /// Reads a registry file.
    ///
    /// # Errors
    /// The file's own failure; `ERR_ALKNET_CONFIG` with the line, or for a URL or address in it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::system("open", &shown, e).at(Phase::Config))?;
        let registry: Self = serde_json::from_str(&text)
            .map_err(|e| Error::config(format!("registry {shown}: {e}")))?;
        for node in registry.nodes.values() {
            node.url.parse::<Url>()?;
        }
        for task in registry.tasks.values() {
            if let Some(address) = &task.address {
                HostPort::parse(address, Some(22))?;
            }
        }
        Ok(registry)
    }

    /// The tasks there are.
    pub(crate) fn ids(&self) -> impl Iterator<Item = i64> {
        self.tasks.keys().filter_map(|id| id.parse().ok())
    }

    /// The runners of nodes that are online, and what this host shows them.
    pub(crate) fn runners(&self) -> impl Iterator<Item = (Url, Option<String>)> {
        let online = self.nodes.values().filter(|node| node.status == "online");
        online.filter_map(|node| Some((node.url.parse().ok()?, node.token.clone())))
    }

    pub(crate) fn task(&self, id: i64) -> Option<&Task> {
        self.tasks.get(&id.to_string())
    }

    /// What the agent of a task may call itself, for who looks for it elsewhere: the registry does not have the task, or not its node.
    pub(crate) fn names(&self, id: i64) -> Vec<String> {
        match self.task(id) {
            None => vec![Kind::Command.container(id), Kind::Vps.container(id)],
            Some(task) => {
                let is_known = task.node.as_ref().is_some_and(|name| self.nodes.contains_key(name));
                match is_known || task.status != "running" || task.address.is_some() {
                    true => Vec::new(),
                    false => vec![task.name(id)],
                }
            }
        }
    }

    /// Where a running task is.
    ///
    /// # Errors
    /// What the user is told, word for word, before close code 1008.
    pub(crate) fn place(&self, id: i64) -> std::result::Result<Place, String> {
        let task = self.task(id).ok_or_else(|| format!("Error: Task {id} not found"))?;
        if task.status != "running" {
            return Err(format!("Error: Task is not running (status: {})", task.status));
        }
        if let (Kind::Vm, Some(address)) = (task.kind, &task.address) {
            let at = HostPort::parse(address, Some(22));
            return at
                .map(Place::Direct)
                .map_err(|_| format!("Error: Cannot resolve VM target: vm-{id}"));
        }
        let name =
            task.node.as_ref().ok_or_else(|| format!("Error: Task {id} has no assigned node"))?;
        let node =
            self.nodes.get(name).ok_or_else(|| format!("Error: Runner node '{name}' not found"))?;
        if node.status != "online" {
            return Err(format!("Error: Runner node '{name}' is offline"));
        }
        let url = node.url.parse().map_err(|_| format!("Error: Runner node '{name}' not found"))?;
        Ok(Place::Runner { url, container: task.name(id), token: node.token.clone() })
    }

    /// Where the terminal of a running task is.
    ///
    /// # Errors
    /// What the user is told, word for word, and the close code after it.
    pub(crate) fn terminal(&self, id: i64) -> std::result::Result<RunnerPlace, (String, u16)> {
        let task = self.task(id).ok_or_else(|| (format!("Task {id} not found."), 1008))?;
        if task.kind == Kind::Vm && task.address.is_some() {
            return Err((format!("Task {id} is not a container task (type: vm)."), 1008));
        }
        if task.status != "running" {
            return Err((format!("Task is not running (status: {})", task.status), 1008));
        }
        let unassigned = || (format!("Task {id} has no assigned node."), 1011);
        let name = task.node.as_ref().ok_or_else(unassigned)?;
        let missing = || (format!("Runner node '{name}' not found."), 1011);
        let node = self.nodes.get(name).ok_or_else(missing)?;
        if node.status != "online" {
            let text = format!("Runner node '{name}' is not online (status: {}).", node.status);
            return Err((text, 1011));
        }
        let url = node.url.parse().map_err(|_| missing())?;
        Ok(RunnerPlace { url, container: task.name(id), token: node.token.clone() })
    }

    /// Where the SSH server of a task is.
    ///
    /// # Errors
    /// What the client is told, word for word.
    pub(crate) fn ssh(&self, id: i64) -> std::result::Result<SshPlace, String> {
        let task = self.task(id).ok_or_else(|| format!("Task {id} not found."))?;
        if task.kind == Kind::Command {
            return Err(format!("Task {id} is not a VPS task."));
        }
        if !matches!(task.status.as_str(), "running" | "paused") {
            return Err(format!("VPS task {id} is not active (status: {}).", task.status));
        }
        if let (Kind::Vm, Some(address)) = (task.kind, &task.address) {
            let at = HostPort::parse(address, Some(22)).map_err(|e| e.to_string())?;
            return Ok(SshPlace { at, node: address.clone() });
        }
        let name =
            task.node.clone().ok_or_else(|| format!("VPS task {id} has no assigned node."))?;
        let port =
            task.ssh_port.ok_or_else(|| format!("VPS task {id} has no SSH port assigned."))?;
        let node = self.nodes.get(&name).filter(|node| node.status == "online");
        let node = node.ok_or_else(|| format!("Assigned node for VPS task {id} is not online."))?;
        let url: Url =
            node.url.parse().map_err(|_| format!("Error parsing runner URL for node {name}."))?;
        Ok(SshPlace { at: HostPort { host: url.at.host, port }, node: name })
    }

    /// What `/api/status/ID` answers.
    pub(crate) fn status(&self, id: i64) -> Option<Value> {
        let task = self.task(id)?;
        let kind = if task.kind == Kind::Command { "command" } else { "vps" };
        Some(json!({
            "task_id": id.to_string(),
            "task_type": kind,
            "status": task.status,
            "assigned_node": task.node,
            "ssh_port": task.ssh_port,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_the_number_that_is_written_and_no_other_has_it() {
        assert_eq!(task_of("kohakuriver-task-5"), Some(5));
        assert_eq!(task_of("kohakuriver-vps-0"), Some(0));
        for other in ["-05", "-+5", "--5", "-", "-5 ", "-99999999999999999999"] {
            assert_eq!(task_of(&format!("kohakuriver-task{other}")), None, "{other}");
        }
    }
}
