//! What is printed.

use std::io::Write as _;

use serde::Serialize;

use crate::measure::{Measured, Row};

/// One row, for programs.
#[derive(Serialize)]
struct Json<'a> {
    name: &'a str,
    unit: &'a str,
    ours: f64,
    peer: Option<f64>,
    peer_name: &'a str,
    ratio: Option<f64>,
    better: &'a str,
    bar: f64,
    aim: f64,
    /// One-minute load average.
    load: f64,
    /// Cores that other processes kept busy meanwhile.
    load_others: f64,
    /// Why there is no peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<&'a str>,
}

/// Every row so far measures something of which less is better.
const BETTER: &str = "lower";

/// Prints all rows as one JSON array.
pub(crate) fn json(results: &[(&Row, Measured)]) -> anyhow::Result<()> {
    let rows: Vec<_> = results
        .iter()
        .map(|(row, measured)| Json {
            name: row.name,
            unit: row.unit,
            ours: rounded(measured.ours),
            peer: measured.peer.as_ref().ok().map(|peer| rounded(*peer)),
            peer_name: row.peer_name,
            ratio: measured.ratio().map(rounded),
            better: BETTER,
            bar: row.bar,
            aim: row.aim,
            load: rounded(measured.load.average),
            load_others: rounded(measured.load.others),
            skipped: measured.peer.as_ref().err().map(String::as_str),
        })
        .collect();
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &rows)?;
    writeln!(out)?;
    Ok(())
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Prints one row for people.
pub(crate) fn line(row: &Row, measured: &Measured) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let value = |value: f64| format!("{} {}", significant(value), row.unit);
    let peer = measured
        .peer
        .as_ref()
        .map_or("–".to_owned(), |peer| value(*peer));
    let (ratio, verdict) = match measured.ratio() {
        Some(ratio) => (format!("{ratio:.2}×"), verdict(ratio, row)),
        None => ("–".to_owned(), "not compared"),
    };
    writeln!(
        out,
        "{:<20} {:>14} {:>14} {:>8}  bar ≤ {}×, aim ≤ {}×: {}",
        row.name,
        value(measured.ours),
        peer,
        ratio,
        row.bar,
        row.aim,
        verdict,
    )?;
    writeln!(
        out,
        "{:<20} peer: {}; load {:.2}, others {:.2} cores",
        "", row.peer_name, measured.load.average, measured.load.others
    )?;
    if let Err(why) = &measured.peer {
        writeln!(out, "{:<20} peer skipped: {why}", "")?;
    }
    for detail in &measured.details {
        writeln!(out, "{:<20} {detail}", "")?;
    }
    Ok(())
}

fn verdict(ratio: f64, row: &Row) -> &'static str {
    if ratio <= row.aim {
        "aim met"
    } else if ratio <= row.bar {
        "bar met"
    } else {
        "BAR MISSED"
    }
}

/// Three significant digits, and all digits before the point.
pub(crate) fn significant(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// Prints the rows and what they measure.
pub(crate) fn list(rows: &[Row]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for row in rows {
        writeln!(
            out,
            "{:<20} {}, in {}; peer: {}",
            row.name, row.what, row.unit, row.peer_name
        )?;
    }
    Ok(())
}

/// Says on standard error what is being done.
pub(crate) fn progress(text: &str) {
    // Nobody is harmed by a lost line of progress.
    let _ = writeln!(std::io::stderr(), "· {text}");
}

/// Says on standard error what is wrong.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "bench: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_three_digits() {
        assert_eq!(significant(1234.4), "1234");
        assert_eq!(significant(22.28), "22.3");
        assert_eq!(significant(0.4), "0.40");
    }
}
