//! What the programs of this package share: a runtime, the signals, the exit code. Everything else is `alknet::cli`.

use std::process::ExitCode;

use alknet::cli::{Control, Exit};
use alknet::runtime::Work;

/// Runs `command` on a runtime for `work`, and ends it as the signals say.
pub(crate) fn run<F: Future<Output = Exit>>(
    work: Work,
    command: impl FnOnce(Control) -> F,
) -> ExitCode {
    #[cfg(unix)]
    raise_descriptor_limit();
    let runtime = match alknet::runtime::runtime(work).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "error: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(async {
        let program = std::env::current_exe().map(std::path::PathBuf::into_os_string);
        let control = Control::of(program.ok());
        let running = command(control.clone());
        tokio::select! {
            // First, so that a signal finds its handler before anything is said.
            biased;
            never = signals(control) => match never {},
            exit = running => exit,
        }
    });
    // A read of standard input cannot be ended, and must not keep the process.
    runtime.shutdown_background();
    ExitCode::from(exit.code())
}

/// A connection that is forwarded takes two descriptors, and a system gives 1 024 where it allows many more (getrlimit(2)).
#[cfg(unix)]
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let given = getrlimit(Resource::Nofile);
    // Without it there are fewer connections: nothing to end for.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: given.maximum, ..given });
}

#[cfg(unix)]
async fn signals(control: Control) -> std::convert::Infallible {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => control.interrupt(),
            _ = terminate.recv() => control.interrupt(),
            _ = hangup.recv() => control.reload(),
        }
    }
}

#[cfg(not(unix))]
async fn signals(control: Control) -> std::convert::Infallible {
    loop {
        if tokio::signal::ctrl_c().await.is_err() {
            return std::future::pending().await;
        }
        control.interrupt();
    }
}
