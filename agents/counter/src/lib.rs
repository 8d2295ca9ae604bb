//! The smallest agent: it counts.

use phoenix_sdk::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[agent]
impl Counter {
    /// Adds to the total and answers with it.
    fn add(&mut self, by: u64) -> u64 {
        self.total += by;
        self.total
    }

    /// The total.
    fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use phoenix_sdk::testing::TestContext;

    use super::*;

    #[test]
    fn counts() {
        let mut test = TestContext::<Counter>::new("counter/alice");
        assert_eq!(test.call(CounterRequests::total()), Ok(0));
        assert_eq!(test.call(CounterRequests::add(2)), Ok(2));
        assert_eq!(test.call(CounterRequests::add(40)), Ok(42));
        assert_eq!(test.call(CounterRequests::total()), Ok(42));
    }

    #[test]
    fn speaks_json() {
        let mut test = TestContext::<Counter>::new("counter/alice");
        assert_eq!(test.call_json("add", "5"), Ok("5".to_owned()));
        assert_eq!(test.call_json("add", r#"{"by": 2}"#), Ok("7".to_owned()));
        let failure = test.call_json("add", r#""five""#).unwrap_err();
        assert_eq!(failure.code(), "bad-payload");
        assert_eq!(test.with(|counter| counter.total), 7);
    }
}
