//! An event's data as a subscription wants it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use phoenix_wit::ContentType;
use serde::{Deserialize, Serialize};

use super::expression::{BadExpression, EXPRESSION_BUDGET, Expression, Fault};
use super::value::{BadData, Map, Unwritable, Value};
use super::view::EventView;
use crate::id::shown;

/// Most fields that a transformation projects, renames or sets, of each.
pub const MAX_TRANSFORM_FIELDS: usize = 32;
/// Longest path of a field, bytes.
pub const MAX_FIELD_PATH: usize = 255;
/// Most names of a path.
pub const MAX_FIELD_DEPTH: usize = 16;

/// What is to be done with data, as a subscription declares it. Fields are named by their
/// path, as in `user.name`. What is declared is done in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransformOptions {
    /// The fields that are kept; of those the data does not have nothing is said. All
    /// are, if there are none here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub project: Vec<String>,
    /// The fields that are named anew, all at once: the path of each, and what it becomes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
    /// The fields that are set: an expression over the event as it was published for each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// What the data becomes, `json` or `messagepack`; what it was, if this is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

/// A transformation, compiled.
#[derive(Clone, Debug)]
pub struct Transform {
    project: Vec<Path>,
    rename: Vec<(Path, Path)>,
    set: Vec<(Path, Expression)>,
    content_type: Option<ContentType>,
}

/// The names that lead to a field, one at least.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Path(Vec<Box<str>>);

/// Options that are no transformation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTransform {
    /// Too much is declared.
    #[error("`{option}` of {fields} fields: it may have {MAX_TRANSFORM_FIELDS}")]
    Many {
        /// The option.
        option: &'static str,
        /// Its fields.
        fields: usize,
    },
    /// A field's path is none.
    #[error(
        "`{path}` in `{option}` is no field: write up to {MAX_FIELD_DEPTH} names with dots between them, as in user.name, in at most {MAX_FIELD_PATH} bytes"
    )]
    Path {
        /// The option.
        option: &'static str,
        /// The path.
        path: String,
    },
    /// An expression is none.
    #[error("the value of `{path}` in `set`: {why}")]
    Value {
        /// The field.
        path: String,
        /// What is wrong.
        why: BadExpression,
    },
    /// There is no such content type.
    #[error("`content_type` is `{found}`: it must be json or messagepack")]
    ContentType {
        /// What it is.
        found: String,
    },
}

/// Why an event's data cannot be transformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransformFault {
    /// It cannot be read.
    #[error(transparent)]
    Data(#[from] BadData),
    /// It has no fields.
    #[error("the data is {found}: only a map has fields to transform")]
    NoMap {
        /// What it is.
        found: &'static str,
    },
    /// A field cannot be put where it is to be.
    #[error("`{path}` cannot be set: what is to hold it is there and no map")]
    NoRoom {
        /// The field.
        path: String,
    },
    /// A value that is to be set is none.
    #[error("the value of `{path}` is none: {fault}")]
    Value {
        /// The field.
        path: String,
        /// Why.
        fault: Fault,
    },
    /// The content type does not have it.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
}

impl Transform {
    /// Compiles a transformation.
    ///
    /// # Errors
    ///
    /// Names what is wrong and what would be accepted.
    pub fn new(options: &TransformOptions) -> Result<Self, BadTransform> {
        let TransformOptions {
            project,
            rename,
            set,
            content_type,
        } = options;
        for (option, fields) in [
            ("project", project.len()),
            ("rename", rename.len()),
            ("set", set.len()),
        ] {
            if fields > MAX_TRANSFORM_FIELDS {
                return Err(BadTransform::Many { option, fields });
            }
        }
        let project = project.iter().map(|path| Path::new("project", path));
        let rename = rename
            .iter()
            .map(|(from, to)| Ok((Path::new("rename", from)?, Path::new("rename", to)?)));
        let set = set.iter().map(|(path, text)| {
            let value = Expression::new(text).map_err(|why| BadTransform::Value {
                path: shown(path),
                why,
            })?;
            Ok((Path::new("set", path)?, value))
        });
        let content_type = match content_type.as_deref() {
            None => None,
            Some("json") => Some(ContentType::Json),
            Some("messagepack") => Some(ContentType::MessagePack),
            Some(other) => {
                let found = shown(other);
                return Err(BadTransform::ContentType { found });
            }
        };
        Ok(Self {
            project: project.collect::<Result<_, _>>()?,
            rename: rename.collect::<Result<_, BadTransform>>()?,
            set: set.collect::<Result<_, BadTransform>>()?,
            content_type,
        })
    }

    /// An event's data as it becomes, and its content type. Data of which nothing is
    /// changed stays as it was published, byte for byte; else maps are written in order of
    /// their keys.
    ///
    /// # Errors
    ///
    /// It cannot become that.
    pub fn apply<'a>(
        &self,
        event: &EventView<'a>,
    ) -> Result<(ContentType, Cow<'a, [u8]>), TransformFault> {
        let content_type = self.content_type.unwrap_or(event.content_type());
        let changes = self.project.len() + self.rename.len() + self.set.len();
        if changes == 0 && content_type == event.content_type() {
            return Ok((content_type, Cow::Borrowed(event.bytes())));
        }
        let data = event.data().map_err(Clone::clone)?;
        if changes == 0 {
            return Ok((content_type, data.write(content_type)?.into()));
        }
        let Value::Map(map) = data else {
            let found = data.kind();
            return Err(TransformFault::NoMap { found });
        };
        let map = self.change(map, event)?;
        Ok((content_type, Value::Map(map).write(content_type)?.into()))
    }

    fn change<'v>(
        &'v self,
        map: &'v Map<'v>,
        event: &'v EventView<'_>,
    ) -> Result<Map<'v>, TransformFault> {
        let mut made = if self.project.is_empty() {
            map.clone()
        } else {
            let mut made = Map::default();
            for path in &self.project {
                if let Some(value) = path.get(map) {
                    path.put(&mut made, value.clone())?;
                }
            }
            made
        };
        let mut renamed = Vec::new();
        for (from, to) in &self.rename {
            renamed.extend(from.take(&mut made).map(|value| (to, value)));
        }
        for (to, value) in renamed {
            to.put(&mut made, value)?;
        }
        for (path, expression) in &self.set {
            let value = expression.evaluate(event, EXPRESSION_BUDGET);
            let value = value.map_err(|fault| TransformFault::Value {
                path: path.shown(),
                fault,
            })?;
            path.put(&mut made, value)?;
        }
        Ok(made)
    }
}

impl Path {
    fn new(option: &'static str, path: &str) -> Result<Self, BadTransform> {
        let is_long = path.len() > MAX_FIELD_PATH;
        if is_long
            || path.split('.').count() > MAX_FIELD_DEPTH
            || path.split('.').any(str::is_empty)
        {
            let path = shown(path);
            return Err(BadTransform::Path { option, path });
        }
        Ok(Self(path.split('.').map(Into::into).collect()))
    }

    fn shown(&self) -> String {
        shown(&self.0.join("."))
    }

    /// The names of the maps that hold the field, and its own.
    fn split(&self) -> (&[Box<str>], &str) {
        match self.0.split_last() {
            Some((name, holders)) => (holders, name),
            None => (&[], ""),
        }
    }

    fn get<'m, 'v>(&self, map: &'m Map<'v>) -> Option<&'m Value<'v>> {
        let (holders, name) = self.split();
        let holder = holders
            .iter()
            .try_fold(map, |map, name| match map.field(name)? {
                Value::Map(inner) => Some(inner),
                _ => None,
            });
        holder?.field(name)
    }

    fn take<'v>(&self, map: &mut Map<'v>) -> Option<Value<'v>> {
        let (holders, name) = self.split();
        let holder = holders
            .iter()
            .try_fold(map, |map, name| match map.field_mut(name)? {
                Value::Map(inner) => Some(inner),
                _ => None,
            });
        holder?.take(name)
    }

    /// Makes the maps that are to hold it where they are not there.
    fn put<'v>(&'v self, map: &mut Map<'v>, value: Value<'v>) -> Result<(), TransformFault> {
        let (holders, name) = self.split();
        let holder = holders.iter().try_fold(map, |map, name| {
            if map.field(name).is_none() {
                map.set(Cow::Borrowed(name), Value::Map(Map::default()));
            }
            match map.field_mut(name)? {
                Value::Map(inner) => Some(inner),
                _ => None,
            }
        });
        let Some(holder) = holder else {
            let path = self.shown();
            return Err(TransformFault::NoRoom { path });
        };
        holder.set(Cow::Borrowed(name), value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Millis;
    use crate::topics::TopicName;

    const DATA: &str = r#"{"user": {"name": "ann", "age": 7}, "n": 3, "x": 1, "y": 2}"#;

    fn options(json: &str) -> TransformOptions {
        serde_json::from_str(json).unwrap()
    }

    fn apply(json: &str, data: &str) -> Result<String, String> {
        let transform = Transform::new(&options(json)).unwrap();
        let topic = TopicName::new("a.b").unwrap();
        let data = data.as_bytes();
        let event = EventView::new(&topic, "client/a", Millis(5), ContentType::Json, data);
        let (content_type, data) = transform.apply(&event).map_err(|it| it.to_string())?;
        assert_eq!(content_type, ContentType::Json);
        Ok(String::from_utf8(data.into_owned()).unwrap())
    }

    #[test]
    fn fields_are_projected_renamed_and_set_in_that_order() {
        for (options, expected) in [
            (
                r#"{"project": ["user.name", "n", "nope.x"]}"#,
                r#"{"n":3,"user":{"name":"ann"}}"#,
            ),
            (
                r#"{"project": ["x", "y"], "rename": {"x": "y", "y": "x"}}"#,
                r#"{"x":2,"y":1}"#,
            ),
            (
                r#"{"project": ["user"], "rename": {"user.name": "who.first", "user.nope": "z"}}"#,
                r#"{"user":{"age":7},"who":{"first":"ann"}}"#,
            ),
            (
                r#"{"project": ["n"], "set": {"at": "time", "user.old": "data.user.age > 5", "n": "data.n + 1"}}"#,
                r#"{"at":5,"n":4,"user":{"old":true}}"#,
            ),
        ] {
            assert_eq!(apply(options, DATA), Ok(expected.into()), "{options}");
        }
    }

    #[test]
    fn data_that_is_not_changed_stays_as_it_is() {
        for options in ["{}", r#"{"content_type": "json"}"#] {
            assert_eq!(
                apply(options, "{ \"b\": 1, no json"),
                Ok("{ \"b\": 1, no json".into())
            );
        }
    }

    #[test]
    fn json_becomes_messagepack_and_back() {
        let topic = TopicName::new("a.b").unwrap();
        let to = |content_type, data: &[u8], name: &str| {
            let transform = Transform::new(&TransformOptions {
                content_type: Some(name.into()),
                ..TransformOptions::default()
            });
            let event = EventView::new(&topic, "client/a", Millis(5), content_type, data);
            let (content_type, data) = transform.unwrap().apply(&event)?;
            Ok::<_, TransformFault>((content_type, data.into_owned()))
        };
        let (packed_type, packed) = to(ContentType::Json, DATA.as_bytes(), "messagepack").unwrap();
        assert_eq!(packed_type, ContentType::MessagePack);
        let (_, json) = to(packed_type, &packed, "json").unwrap();
        let expected = r#"{"n":3,"user":{"age":7,"name":"ann"},"x":1,"y":2}"#;
        assert_eq!(String::from_utf8(json).unwrap(), expected);
        // Bytes, which JSON does not have.
        let error = to(ContentType::MessagePack, &[0xc4, 1, 7], "json").unwrap_err();
        assert_eq!(error.to_string(), "JSON does not have bytes");
        let error = to(ContentType::Binary, &[7], "json").unwrap_err();
        assert!(
            error.to_string().contains("bytes without a form"),
            "{error}"
        );
    }

    #[test]
    fn data_that_cannot_become_that_is_told_why() {
        for (options, data, why) in [
            (
                r#"{"project": ["a"]}"#,
                "[1]",
                "the data is a list: only a map has fields to transform",
            ),
            (r#"{"project": ["a"]}"#, "{", "the data is no good JSON"),
            (
                r#"{"set": {"n.a": "1"}}"#,
                DATA,
                "`n.a` cannot be set: what is to hold it is there and no map",
            ),
            (r#"{"rename": {"x": "n.x"}}"#, DATA, "`n.x` cannot be set"),
            (
                r#"{"set": {"a": "data.nope"}}"#,
                DATA,
                "the value of `a` is none: line 1, column 6: there is no field `nope`",
            ),
            (
                r#"{"set": {"a": "1.0 / 0.0"}}"#,
                DATA,
                "JSON has no number inf",
            ),
        ] {
            let error = apply(options, data).unwrap_err();
            assert!(error.contains(why), "{options}: {error}");
        }
    }

    #[test]
    fn what_is_no_transformation_is_told_what_is_one() {
        for (json, part) in [
            (
                r#"{"project": ["a..b"]}"#,
                "`a..b` in `project` is no field: write up to 16 names with dots",
            ),
            (r#"{"rename": {"a": ""}}"#, "`` in `rename` is no field"),
            (
                r#"{"set": {"a": "1 +"}}"#,
                "the value of `a` in `set`: line 1, column 4, at `the end`",
            ),
            (
                r#"{"content_type": "xml"}"#,
                "`content_type` is `xml`: it must be json or messagepack",
            ),
        ] {
            let error = Transform::new(&options(json)).unwrap_err().to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
        let deep = TransformOptions {
            project: vec![vec!["a"; 1_000_000].join(".")],
            ..TransformOptions::default()
        };
        let error = Transform::new(&deep).unwrap_err().to_string();
        assert!(
            error.contains("in `project` is no field") && error.len() < 300,
            "{error}"
        );
        let many = TransformOptions {
            project: vec!["a".into(); 33],
            ..TransformOptions::default()
        };
        let error = Transform::new(&many).unwrap_err().to_string();
        assert_eq!(error, "`project` of 33 fields: it may have 32");
        let unknown = serde_json::from_str::<TransformOptions>(r#"{"projekt": []}"#);
        assert!(
            unknown
                .unwrap_err()
                .to_string()
                .contains("unknown field `projekt`")
        );
    }
}
