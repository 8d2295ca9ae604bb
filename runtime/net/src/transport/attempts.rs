//! Trying a name's addresses one after the other.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// Most addresses of a name that are tried.
const ADDRESSES: usize = 4;

/// What came of the last address that was tried, or nothing if there was none.
pub(crate) enum Failed<E> {
    /// The name has no address.
    NoAddress,
    /// The attempt failed.
    Attempt(E),
    /// Nothing came in time.
    Silent,
}

/// Tries `addresses` until one works. They share the time that is left until
/// `deadline`, so that one which is silent leaves some for the next.
pub(crate) async fn first_that_works<T, E, F>(
    addresses: impl Iterator<Item = SocketAddr>,
    deadline: Instant,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<T, Failed<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let addresses: Vec<_> = addresses.take(ADDRESSES).collect();
    let mut last = Failed::NoAddress;
    for (left, address) in (1..=addresses.len()).rev().zip(&addresses) {
        let share = share(deadline.saturating_duration_since(Instant::now()), left);
        match timeout(share, attempt(*address)).await {
            Ok(Ok(worked)) => return Ok(worked),
            Ok(Err(error)) => last = Failed::Attempt(error),
            Err(_) => last = Failed::Silent,
        }
    }
    Err(last)
}

fn share(time: Duration, left: usize) -> Duration {
    time / u32::try_from(left).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_silent_address_leaves_time_for_the_next() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let deadline = Instant::now() + Duration::from_millis(100);
        let found = first_that_works(
            [1, 2].map(address).into_iter(),
            deadline,
            |tried| async move {
                if tried.port() == 1 {
                    std::future::pending::<()>().await;
                }
                Ok::<_, ()>(tried.port())
            },
        );
        assert!(matches!(found.await, Ok(2)));
    }

    #[tokio::test]
    async fn says_what_became_of_the_last_one() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let deadline = Instant::now() + Duration::from_secs(60);
        let none = first_that_works([].into_iter(), deadline, |_| async { Ok::<(), u16>(()) });
        assert!(matches!(none.await, Err(Failed::NoAddress)));
        let bad = first_that_works((1..9).map(address), deadline, |tried| async move {
            Err::<(), _>(tried.port())
        });
        assert!(matches!(bad.await, Err(Failed::Attempt(4))));
    }
}
