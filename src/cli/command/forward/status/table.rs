//! Forwarders as a table, for people.

use super::called;
use crate::cli::report::wants_colour;
use crate::manage::{Condition, Standing};

const HEADING: [&str; 10] = [
    "FORWARDER",
    "STATUS",
    "LISTENS",
    "TARGET",
    "ANSWERS",
    "OPEN/ALL",
    "UP/DOWN",
    "UPTIME",
    "PID",
    "LAST ERROR",
];

/// A heading and a row for each; below a row, what is wrong with it.
pub(super) fn table(all: &[Standing]) -> Vec<String> {
    let mut rows = vec![HEADING.map(str::to_owned)];
    rows.extend(all.iter().map(cells));
    let widths: Vec<usize> = (0..HEADING.len())
        .map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0))
        .collect();
    let colours = wants_colour(&std::io::stdout());
    let line = |row: &[String; 10]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| {
            let padded = format!("{cell:width$}");
            match (colours, cell.as_str()) {
                (true, "running") => format!("\u{1b}[32m{padded}\u{1b}[0m"),
                (true, "stale" | "no") => format!("\u{1b}[31m{padded}\u{1b}[0m"),
                _ => padded,
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    for (line, standing) in lines.iter_mut().skip(1).zip(all) {
        if let Some(remark) = remark(standing) {
            line.push_str(&format!("\n  {remark}"));
        }
    }
    lines
}

fn remark(standing: &Standing) -> Option<String> {
    if let Some(fault) = &standing.fault {
        return Some(fault.clone());
    }
    let id = &standing.id;
    (standing.condition == Condition::Dead).then(|| {
        format!("it was not stopped, but is gone: alknet forward restart {id}, or stop {id}")
    })
}

fn cells(standing: &Standing) -> [String; 10] {
    let live = standing.live.as_ref();
    let record = standing.record.as_ref();
    let through = |server: &String| format!(" through {server}");
    let none = || "-".to_owned();
    let answers = live.and_then(|live| live.target_reachable);
    [
        standing.id.clone(),
        called(standing.condition).to_owned(),
        record.map_or_else(none, |r| format!("{}:{}", r.listen_host, r.listen_port)),
        record.map_or_else(none, |r| {
            let server = r.wanted.server.as_ref().map(through).unwrap_or_default();
            format!("{}:{}{server}", r.target_host, r.target_port)
        }),
        answers.map_or_else(none, |yes| if yes { "yes" } else { "no" }.to_owned()),
        live.map_or_else(none, |live| format!("{}/{}", live.active, live.accepted)),
        live.map_or_else(none, |live| format!("{}/{}", size(live.bytes_up), size(live.bytes_down))),
        live.map_or_else(none, |live| time(live.uptime_seconds)),
        standing.pid.map_or_else(none, |pid| pid.to_string()),
        live.and_then(|live| live.last_error.clone()).unwrap_or_else(none),
    ]
}

/// Three digits and a unit at most, as `ls -h` has it: 1K is 1 024 bytes.
fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut value = bytes as f64;
    let mut unit = ' ';
    for next in ['K', 'M', 'G', 'T', 'P', 'E'] {
        value /= 1024.0;
        unit = next;
        // What would be rounded to 1024 has the next unit.
        if value < 1023.5 {
            break;
        }
    }
    if value < 9.95 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

/// The two units that say most.
fn time(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_as_short_as_they_are_precise() {
        let sizes = [0, 1023, 1024, 10_239, 1_048_063, 1_048_575, 5 << 30, u64::MAX].map(size);
        assert_eq!(sizes, ["0", "1023", "1.0K", "10K", "1023K", "1.0M", "5.0G", "16E"]);
        let times = [59, 60, 3599, 3600, 86_399, 86_400, 90_061].map(time);
        assert_eq!(times, ["59s", "1m 0s", "59m 59s", "1h 0m", "23h 59m", "1d 0h", "1d 1h"]);
    }
}
