//! Which events a subscription wants: an [`Expression`] that is true of them.

use super::expression::{BadExpression, EXPRESSION_BUDGET, Expression, Fault};
use super::value::Value;
use super::view::EventView;

/// A filter, compiled once. See [`Expression`] for what it may say.
#[derive(Clone, Debug)]
pub struct Filter(Expression);

/// What a filter says of an event. Only [`Outcome::Matches`] has it delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is true.
    Matches,
    /// It is false.
    Differs,
    /// It is neither: a field is missing, say. Says why.
    Fails(Fault),
    /// It would have cost too much.
    CutOff,
}

/// What a filter has said so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterCounts {
    /// Events of which it was true.
    pub matched: u64,
    /// Events of which it was false.
    pub differed: u64,
    /// Events of which it was neither.
    pub failed: u64,
    /// Events at which it was cut off.
    pub cut_off: u64,
}

impl Filter {
    /// Compiles a filter.
    ///
    /// # Errors
    ///
    /// Says where the expression is wrong and what would be accepted there; one whose
    /// value is never a bool is refused as well.
    pub fn new(text: &str) -> Result<Self, BadExpression> {
        let expression = Expression::new(text)?;
        expression.check_test()?;
        Ok(Self(expression))
    }

    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// What it says of an event, in at most [`EXPRESSION_BUDGET`] steps.
    pub fn test(&self, event: &EventView<'_>) -> Outcome {
        match self.0.evaluate(event, EXPRESSION_BUDGET) {
            Ok(Value::Bool(true)) => Outcome::Matches,
            Ok(Value::Bool(false)) => Outcome::Differs,
            Ok(other) => Outcome::Fails(Fault::NoValue {
                line: 1,
                column: 1,
                what: format!("it is {}, neither true nor false", other.kind()),
            }),
            Err(Fault::CutOff { .. }) => Outcome::CutOff,
            Err(fault) => Outcome::Fails(fault),
        }
    }
}

impl FilterCounts {
    /// Counts what a filter said.
    pub fn note(&mut self, outcome: &Outcome) {
        let count = match outcome {
            Outcome::Matches => &mut self.matched,
            Outcome::Differs => &mut self.differed,
            Outcome::Fails(_) => &mut self.failed,
            Outcome::CutOff => &mut self.cut_off,
        };
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use phoenix_wit::ContentType;

    use super::*;
    use crate::Millis;
    use crate::topics::TopicName;

    fn event<'a>(topic: &'a TopicName, content_type: ContentType, data: &'a [u8]) -> EventView<'a> {
        EventView::new(topic, "client/a", Millis(1), content_type, data)
    }

    #[test]
    fn a_filter_matches_differs_fails_or_is_cut_off_and_is_counted() {
        let topic = TopicName::new("a.b").unwrap();
        let event = event(
            &topic,
            ContentType::Json,
            br#"{"n": 3, "l": [1,2,3,4,5,6,7,8,9,10]}"#,
        );
        let mut counts = FilterCounts::default();
        let nested = "data.l.all(a, data.l.all(b, data.l.all(c, data.l.all(d, a < 99))))";
        for text in ["data.n == 3", "data.n > 3", "data.x == 3", "data.n", nested] {
            counts.note(&Filter::new(text).unwrap().test(&event));
        }
        let expected = FilterCounts {
            matched: 1,
            differed: 1,
            failed: 2,
            cut_off: 1,
        };
        assert_eq!(counts, expected);
        let fails = Filter::new("data.n").unwrap().test(&event);
        let Outcome::Fails(fault) = fails else {
            panic!("{fails:?}");
        };
        assert!(fault.to_string().contains("an int, neither true nor false"));
    }

    #[test]
    fn a_filter_that_is_never_a_bool_is_refused() {
        for (text, kind) in [
            ("'error'", "a text"),
            ("topic", "a text"),
            ("data.n + 1", "a number, a text or a list"),
            ("size(data.l)", "an int"),
            ("[data.ok]", "a list"),
            ("data.l.filter(x, x > 1)", "a list"),
            ("data.ok ? 1 : 2", "an int"),
        ] {
            let error = Filter::new(text).unwrap_err().to_string();
            let expected =
                format!("this is {kind}: a filter is true or false, as in data.level == 'error'");
            assert!(error.ends_with(&expected), "{text}: {error}");
        }
    }

    #[test]
    fn data_is_read_when_it_is_asked_for_and_once() {
        let topic = TopicName::new("a.b").unwrap();
        let event = event(&topic, ContentType::Json, b"{\"n\": 3}");
        let by_topic = Filter::new("topic == 'a.b'").unwrap();
        assert_eq!(by_topic.test(&event), Outcome::Matches);
        assert!(!event.is_read());
        let by_data = Filter::new("data.n == 3").unwrap();
        assert_eq!(by_data.test(&event), Outcome::Matches);
        let first: *const Value<'_> = event.data().unwrap();
        assert_eq!(by_data.test(&event), Outcome::Matches);
        assert!(std::ptr::eq(first, event.data().unwrap()));
    }

    #[test]
    fn data_without_a_form_fails_only_filters_that_look_at_it() {
        let topic = TopicName::new("a.b").unwrap();
        let event = event(&topic, ContentType::Binary, b"\xff");
        assert_eq!(
            Filter::new("topic != ''").unwrap().test(&event),
            Outcome::Matches
        );
        let fails = Filter::new("data.n == 3").unwrap().test(&event);
        assert!(
            format!("{fails:?}").contains("bytes without a form"),
            "{fails:?}"
        );
    }
}
