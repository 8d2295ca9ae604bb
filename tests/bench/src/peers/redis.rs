//! One Redis server, from Debian's package or any other, that syncs its log before each
//! answer, and the load generator that comes with it. It listens on a socket in a
//! directory of its own, and ends with what is measured.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tempfile::TempDir;

/// Longest the server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Redis {
    child: Child,
    dir: TempDir,
}

impl Redis {
    /// Starts it. The error says in a sentence why there is none.
    pub(crate) fn start() -> Result<Self, String> {
        Self::try_start().map_err(|error| {
            format!("Redis does not run here ({error:#}); install the package redis-server")
        })
    }

    fn try_start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", "always", "--daemonize", "no", "--dir"])
            .arg(dir.path())
            .arg("--unixsocket")
            .arg(dir.path().join("socket"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start redis-server")?;
        let redis = Self { child, dir };
        let until = Instant::now() + PATIENCE;
        while !redis.socket().exists() {
            anyhow::ensure!(Instant::now() < until, "redis-server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(redis)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// Increments `clients` counters `count` times in all, on a connection each of which
    /// waits for its answer before it goes on; how long one took of the whole.
    pub(crate) fn increment(&self, clients: u32, count: u32) -> anyhow::Result<Duration> {
        let [clients, count] = [clients, count].map(|number| number.to_string());
        let output = Command::new("redis-benchmark")
            .arg("-s")
            .arg(self.socket())
            .args(["-t", "incr", "--csv", "-c", &clients, "-r", &clients])
            .args(["-n", &count])
            .output()
            .context("cannot start redis-benchmark")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let rate = rate(&text).with_context(|| format!("redis-benchmark printed {text:?}"))?;
        Ok(Duration::from_secs_f64(1.0 / rate))
    }
}

/// Requests a second, of what `redis-benchmark --csv` prints.
fn rate(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("\"INCR\""))?;
    let rate = line.split(',').nth(1)?.trim_matches('"').parse().ok()?;
    (rate > 0.0).then_some(rate)
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left of it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_second_column() {
        let text = "\"test\",\"rps\"\n\"INCR\",\"5571.03\",\"0.175\"\n";
        assert_eq!(rate(text), Some(5571.03));
        assert_eq!(rate("\"INCR\",\"0.00\"\n"), None);
        assert_eq!(rate("Could not connect"), None);
    }
}
