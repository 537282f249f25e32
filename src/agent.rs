//! The program `tunnel-client`: the agent of a tunnel and nothing else, for images of containers.

mod program;

use alknet::cli::run_agent;
use alknet::runtime::Work;

fn main() -> std::process::ExitCode {
    program::run(Work::default(), |control| run_agent(std::env::args_os(), control))
}
