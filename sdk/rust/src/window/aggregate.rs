//! What is known of the events of one window.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Most different values a [`Distinct`] keeps unless it says otherwise.
pub const MAX_DISTINCT: usize = 1_000;

/// What two stretches of events come to together. Its `Default` is that of no event.
///
/// The order of the two must not matter, and neither which are merged first: windows
/// merge what they have by time and not by arrival.
pub trait Merge: Clone + Default {
    /// Takes in what is known of other events.
    fn merge(&mut self, other: &Self);
}

/// What is known of events with values `V`: [`Count`], [`Sum`], [`Min`], [`Max`],
/// [`Distinct`], a tuple of several, or a type of your own.
///
/// ```
/// use phoenix_sdk::window::{Aggregate, Count, Max, Merge};
/// use serde::{Deserialize, Serialize};
///
/// struct Request { bytes: u64, failed: bool }
///
/// #[derive(Clone, Debug, Default, Serialize, Deserialize)]
/// struct Traffic { largest: Max<u64>, failures: Count }
///
/// impl Merge for Traffic {
///     fn merge(&mut self, other: &Self) {
///         self.largest.merge(&other.largest);
///         self.failures.merge(&other.failures);
///     }
/// }
///
/// impl Aggregate<Request> for Traffic {
///     fn add(&mut self, request: &Request) {
///         self.largest.add(&request.bytes);
///         if request.failed {
///             self.failures.add(&());
///         }
///     }
/// }
/// ```
pub trait Aggregate<V: ?Sized>: Merge {
    /// Takes in one event.
    fn add(&mut self, value: &V);
}

/// How many events there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Count(u64);

impl Count {
    /// Events.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl Merge for Count {
    fn merge(&mut self, other: &Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

impl<V: ?Sized> Aggregate<V> for Count {
    fn add(&mut self, _: &V) {
        self.0 = self.0.saturating_add(1);
    }
}

/// A number that can be summed.
pub trait Addend: Copy + Default {
    /// The sum, or `None` if the type has no such number.
    fn plus(self, other: Self) -> Option<Self>;
}

macro_rules! addends {
    ($($integer:ty)*) => {$(
        impl Addend for $integer {
            fn plus(self, other: Self) -> Option<Self> {
                self.checked_add(other)
            }
        }
    )*};
}

addends!(u32 u64 u128 i32 i64 i128);

impl Addend for f64 {
    fn plus(self, other: Self) -> Option<Self> {
        Some(self + other)
    }
}

/// The sum of the values.
///
/// One that its type has no room for says so and is not gone on with; sums of `f64` are
/// rounded, so what they come to depends on the order in the last digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum<T> {
    sum: T,
    #[serde(default)]
    overflowed: bool,
}

impl<T: Addend> Sum<T> {
    /// The sum, or `None` if its type has no room for it.
    pub fn get(&self) -> Option<T> {
        (!self.overflowed).then_some(self.sum)
    }
}

impl<T: Addend> Sum<T> {
    fn plus(&mut self, other: T) {
        match self.sum.plus(other) {
            Some(sum) if !self.overflowed => self.sum = sum,
            _ => {
                self.overflowed = true;
                self.sum = T::default();
            }
        }
    }
}

impl<T: Addend> Merge for Sum<T> {
    fn merge(&mut self, other: &Self) {
        self.overflowed |= other.overflowed;
        self.plus(other.sum);
    }
}

impl<T: Addend> Aggregate<T> for Sum<T> {
    fn add(&mut self, value: &T) {
        self.plus(*value);
    }
}

/// The smallest value. Values that compare with nothing, such as `f64::NAN`, are
/// passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Min<T>(Option<T>);

/// The largest value. Values that compare with nothing, such as `f64::NAN`, are
/// passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Max<T>(Option<T>);

macro_rules! extremes {
    ($($name:ident $beats:tt $what:literal)*) => {$(
        impl<T> $name<T> {
            #[doc = concat!("The ", $what, " value, or `None` of no event.")]
            pub fn get(&self) -> Option<&T> {
                self.0.as_ref()
            }
        }

        impl<T> Default for $name<T> {
            fn default() -> Self {
                Self(None)
            }
        }

        impl<T: PartialOrd + Clone> Merge for $name<T> {
            fn merge(&mut self, other: &Self) {
                if let Some(value) = &other.0 {
                    self.add(value);
                }
            }
        }

        impl<T: PartialOrd + Clone> Aggregate<T> for $name<T> {
            fn add(&mut self, value: &T) {
                let compares = value.partial_cmp(value).is_some();
                if compares && self.0.as_ref().is_none_or(|best| value $beats best) {
                    self.0 = Some(value.clone());
                }
            }
        }
    )*};
}

extremes!(Min < "smallest" Max > "largest");

/// The different values, exactly, as long as there are at most `MAX`.
///
/// Of more, `MAX` are kept and [`overflowed`](Self::overflowed) is true: there are more
/// than [`len`](Self::len) says. Values are kept whole, so bound their sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Ord + Deserialize<'de>"))]
pub struct Distinct<T: Ord, const MAX: usize = MAX_DISTINCT> {
    values: BTreeSet<T>,
    #[serde(default)]
    overflowed: bool,
}

impl<T: Ord, const MAX: usize> Distinct<T, MAX> {
    /// How many different values are kept: all, unless there were too many.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there was no value.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether there are more than `MAX` different values.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// How many different values there are, or `None` if more than `MAX`.
    pub fn exact(&self) -> Option<usize> {
        (!self.overflowed).then_some(self.values.len())
    }

    /// The values that are kept, in order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.values.iter()
    }
}

impl<T: Ord, const MAX: usize> Default for Distinct<T, MAX> {
    fn default() -> Self {
        Self {
            values: BTreeSet::new(),
            overflowed: false,
        }
    }
}

impl<T: Ord + Clone, const MAX: usize> Merge for Distinct<T, MAX> {
    fn merge(&mut self, other: &Self) {
        self.overflowed |= other.overflowed;
        for value in &other.values {
            self.keep(value, T::clone);
        }
    }
}

impl<T: Ord, const MAX: usize> Distinct<T, MAX> {
    fn keep<Q: Ord + ?Sized>(&mut self, value: &Q, owned: impl FnOnce(&Q) -> T)
    where
        T: Borrow<Q>,
    {
        if self.values.contains(value) {
        } else if self.values.len() < MAX {
            self.values.insert(owned(value));
        } else {
            self.overflowed = true;
        }
    }
}

impl<T, Q, const MAX: usize> Aggregate<Q> for Distinct<T, MAX>
where
    T: Ord + Clone + Borrow<Q>,
    Q: Ord + ToOwned<Owned = T> + ?Sized,
{
    fn add(&mut self, value: &Q) {
        self.keep(value, Q::to_owned);
    }
}

macro_rules! tuples {
    ($(($($name:ident $place:tt),+))*) => {$(
        impl<$($name: Merge),+> Merge for ($($name,)+) {
            fn merge(&mut self, other: &Self) {
                $(self.$place.merge(&other.$place);)+
            }
        }

        impl<Value: ?Sized, $($name: Aggregate<Value>),+> Aggregate<Value> for ($($name,)+) {
            fn add(&mut self, value: &Value) {
                $(self.$place.add(value);)+
            }
        }
    )*};
}

tuples! {
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_has_no_room_says_so_for_good() {
        let mut sum = Sum::<u64>::default();
        sum.add(&u64::MAX);
        assert_eq!(sum.get(), Some(u64::MAX));
        sum.add(&1);
        sum.add(&1);
        assert_eq!(sum.get(), None);
        let mut other = Sum::default();
        other.add(&5);
        other.merge(&sum);
        assert_eq!(other.get(), None);
        let text = serde_json::to_string(&other).unwrap_or_default();
        assert_eq!(text, r#"{"sum":0,"overflowed":true}"#);
    }

    #[test]
    fn what_compares_with_nothing_is_no_extreme() {
        let mut extremes = <(Min<f64>, Max<f64>)>::default();
        for value in [f64::NAN, 2.0, -1.0, f64::NAN] {
            extremes.add(&value);
        }
        assert_eq!(extremes.0.get(), Some(&-1.0));
        assert_eq!(extremes.1.get(), Some(&2.0));
    }

    #[test]
    fn distinct_values_are_exact_up_to_their_bound() {
        let mut kinds = Distinct::<String, 2>::default();
        kinds.add("a");
        kinds.add("b");
        kinds.add("a");
        assert_eq!(kinds.exact(), Some(2));
        let mut both = Distinct::<String, 2>::default();
        both.add("c");
        both.merge(&kinds);
        assert_eq!((both.len(), both.exact()), (2, None));
        kinds.add("c");
        assert!(kinds.overflowed());
        assert_eq!(kinds.values().collect::<Vec<_>>(), ["a", "b"]);
    }
}
