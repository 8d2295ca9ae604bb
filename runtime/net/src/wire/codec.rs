//! How each kind of value is written and read, and macros for records and choices.
//!
//! A record is its fields in order. A choice is a tag of one byte and the
//! fields of that variant. The macros take apart and put together the core
//! types field by field, so that a new field or variant there does not compile
//! here before its form on the wire is decided.

use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::{Data, SmolStr};

use super::input::{Input, Malformed};
use super::output::Output;

/// Most items in one list.
pub(super) const MAX_LIST: usize = 1 << 16;

/// A value with a form on the wire.
pub(crate) trait Wire: Sized {
    /// Appends it.
    fn put(&self, out: &mut Output);
    /// Reads it.
    fn get(input: &mut Input) -> Result<Self, Malformed>;
}

/// Reads a value that an error is to call `field`.
pub(crate) fn named<T: Wire>(input: &mut Input, field: &'static str) -> Result<T, Malformed> {
    T::get(input).map_err(|malformed| malformed.of(field))
}

impl Wire for u8 {
    fn put(&self, out: &mut Output) {
        out.byte(*self);
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        input.byte("a byte")
    }
}

impl Wire for u64 {
    fn put(&self, out: &mut Output) {
        out.number(*self);
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        input.number("a number")
    }
}

impl Wire for u32 {
    fn put(&self, out: &mut Output) {
        out.number(u64::from(*self));
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        let number = input.number("a number")?;
        u32::try_from(number).map_err(|_| Malformed::Range("a 32-bit number"))
    }
}

impl Wire for u16 {
    fn put(&self, out: &mut Output) {
        out.number(u64::from(*self));
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        let number = input.number("a number")?;
        Self::try_from(number).map_err(|_| Malformed::Range("a 16-bit number"))
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Output) {
        out.byte(u8::from(*self));
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        match input.byte("a flag")? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(Malformed::Unknown {
                what: "flag",
                found: found.into(),
            }),
        }
    }
}

impl Wire for String {
    fn put(&self, out: &mut Output) {
        out.text(self);
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        input.text("a text", |text| Ok(text.to_owned()))
    }
}

impl Wire for Arc<str> {
    fn put(&self, out: &mut Output) {
        out.text(self);
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        input.text("a text", |text| Ok(text.into()))
    }
}

impl Wire for SmolStr {
    fn put(&self, out: &mut Output) {
        out.text(self);
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        input.text("a text", |text| Ok(text.into()))
    }
}

impl Wire for Data {
    fn put(&self, out: &mut Output) {
        out.data(self);
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        input.data("bytes")
    }
}

impl Wire for Bytes {
    fn put(&self, out: &mut Output) {
        out.bytes(self);
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        input.bytes("bytes")
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Output) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        Ok(if bool::get(input)? {
            Some(T::get(input)?)
        } else {
            None
        })
    }
}

impl<T: Wire> Wire for Box<T> {
    fn put(&self, out: &mut Output) {
        (**self).put(out);
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        T::get(input).map(Box::new)
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    fn put(&self, out: &mut Output) {
        self.is_ok().put(out);
        match self {
            Ok(value) => value.put(out),
            Err(error) => error.put(out),
        }
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        Ok(if bool::get(input)? {
            Ok(T::get(input)?)
        } else {
            Err(E::get(input)?)
        })
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Output) {
        self.0.put(out);
        self.1.put(out);
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        Ok((A::get(input)?, B::get(input)?))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Output) {
        out.number(self.len() as u64);
        for item in self {
            item.put(out);
        }
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        let (count, room) = input.count(MAX_LIST, "a list")?;
        let mut list = Vec::with_capacity(room);
        for _ in 0..count {
            list.push(T::get(input)?);
        }
        Ok(list)
    }
}

/// A struct, as its fields in the order given.
macro_rules! record {
    ($type:ty { $($field:ident),+ $(,)? }) => {
        impl Wire for $type {
            fn put(&self, out: &mut Output) {
                let Self { $($field),+ } = self;
                $($field.put(out);)+
            }
            fn get(input: &mut Input) -> Result<Self, Malformed> {
                $(let $field = $crate::wire::codec::named(input, stringify!($field))?;)+
                Ok(Self { $($field),+ })
            }
        }
    };
}

/// A struct with one unnamed public field, as that field.
macro_rules! wrapper {
    ($type:ident) => {
        impl Wire for $type {
            fn put(&self, out: &mut Output) {
                self.0.put(out);
            }
            fn get(input: &mut Input) -> Result<Self, Malformed> {
                Wire::get(input).map($type)
            }
        }
    };
}

/// An enum, as a tag and the fields of the variant. `A(x)` names what is in an
/// unnamed field.
macro_rules! choice {
    ($type:ty as $what:literal {
        $($tag:literal => $variant:ident
            $({ $($field:ident),+ $(,)? })?
            $(( $($unnamed:ident),+ ))?
        ),+ $(,)?
    }) => {
        impl Wire for $type {
            fn put(&self, out: &mut Output) {
                match self {
                    $(Self::$variant $({ $($field),+ })? $(( $($unnamed),+ ))? => {
                        out.byte($tag);
                        $($($field.put(out);)+)?
                        $($($unnamed.put(out);)+)?
                    })+
                }
            }
            fn get(input: &mut Input) -> Result<Self, Malformed> {
                match input.byte($what)? {
                    $($tag => {
                        $($(let $field = $crate::wire::codec::named(input, stringify!($field))?;)+)?
                        $($(let $unnamed = $crate::wire::codec::named(input, stringify!($unnamed))?;)+)?
                        Ok(Self::$variant $({ $($field),+ })? $(( $($unnamed),+ ))?)
                    })+
                    found => Err(Malformed::Unknown { what: $what, found: found.into() }),
                }
            }
        }
    };
}

pub(crate) use {choice, record, wrapper};
