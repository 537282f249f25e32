//! The agent of a tunnel as a program of its own: what `alknet tunnel agent` is told, by options and variables alone.

use std::ffi::OsString;

use clap::Parser;

use super::args::{Output, TunnelAgent};
use super::report::Report;
use super::{Control, Exit, command, log, log_level, until_told};
use crate::error::Error;

/// The agent of an alknet tunnel: lets a runner reach the services of this container.
#[derive(Parser)]
#[command(name = "tunnel-client", version, max_term_width = 100)]
#[command(mut_arg("config", |config| config.hide(true)))]
struct Alone {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    agent: TunnelAgent,
}

/// Runs the agent by a command line, its first word the program's name, and says how it ended. Otherwise as [`super::CommandLine::run`].
pub async fn run_agent(words: impl IntoIterator<Item = OsString>, control: Control) -> Exit {
    let mut words: Vec<OsString> = words.into_iter().collect();
    words.extend(log_level(&words));
    let Alone { output, mut agent } = match Alone::try_parse_from(&words) {
        Ok(told) => told,
        Err(usage) => return super::answered(&usage),
    };
    let report = Report::new(&output);
    if output.config.is_some() {
        return report.failed(&Error::config("tunnel-client reads no configuration file"));
    }
    if let Err(error) = log::install(&output) {
        return report.failed(&error);
    }
    agent.drop_in = true;
    until_told(command::agent(&agent, &report, &control), &report, &control).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_alone_takes_the_options_of_the_original_and_those_of_ours() {
        let words =
            "tunnel-client -r ws://node:8001 -c box --max-reconnect 3 --tls-ca ca.pem --json";
        let told = Alone::try_parse_from(words.split(' ')).expect("options of an agent");
        assert_eq!(told.agent.runner_url.as_deref(), Some("ws://node:8001"));
        assert_eq!(told.agent.container_id.as_deref(), Some("box"));
        assert_eq!(told.agent.max_reconnect, 3);
        assert!(told.agent.trusted.tls_ca.is_some() && told.output.json);
        assert!(Alone::try_parse_from(["tunnel-client", "serve"]).is_err(), "it is nothing else");
    }
}
