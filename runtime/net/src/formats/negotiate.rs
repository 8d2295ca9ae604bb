//! How two nodes agree on form and compression.
//!
//! Each says in its hello what it reads: an [`Offer`]. Each then writes to the
//! other what it prefers of that, for each purpose, and needs no answer: frames
//! say what was done to them. What every node reads, compact form and no
//! compression, is what is left where nothing else is common.

use phoenix_core::attributes::Format;

use crate::wire::codec::Wire;
use crate::wire::{Input, Malformed, Output, Packing};

/// What form the content of a frame has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// Phoenix's own: small, and only for nodes of one version.
    #[default]
    Compact,
    /// Agents' messages as a batch of events; everything else is compact still.
    Events(Format),
}

impl Form {
    /// Every form.
    pub const ALL: [Self; 4] = [
        Self::Compact,
        Self::Events(Format::MessagePack),
        Self::Events(Format::Protobuf),
        Self::Events(Format::Json),
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Events(format) => format.as_str(),
        }
    }

    /// The form of that word: `compact`, `msgpack`, `protobuf` or `json`.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.as_str() == word)
    }

    /// Its bit in an offer.
    fn bit(self) -> u64 {
        match self {
            Self::Compact => 1,
            Self::Events(Format::MessagePack) => 1 << 1,
            Self::Events(Format::Protobuf) => 1 << 2,
            Self::Events(Format::Json) => 1 << 3,
        }
    }
}

/// How a frame is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// LZ4: faster than most networks.
    Lz4,
    /// Zstandard: smaller, and slower to write.
    Zstd,
}

impl Compression {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::None, Self::Lz4, Self::Zstd];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The one of that word: `none`, `lz4` or `zstd`.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }

    /// Its bit in an offer.
    fn bit(self) -> u64 {
        match self {
            Self::None => 1,
            Self::Lz4 => 1 << 1,
            Self::Zstd => 1 << 2,
        }
    }
}

/// What a node reads, as its hello says it. Bits it sets that are not known here
/// are passed over, so that a later node may offer more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    forms: u64,
    compressions: u64,
}

impl Offer {
    /// What every node reads.
    pub const LEAST: Self = Self {
        forms: 1,
        compressions: 1,
    };

    /// What this version reads.
    pub fn all() -> Self {
        Self::of(&Form::ALL, &Compression::ALL)
    }

    /// These, and what every node reads.
    pub fn of(forms: &[Form], compressions: &[Compression]) -> Self {
        Self {
            forms: forms.iter().fold(1, |bits, form| bits | form.bit()),
            compressions: compressions.iter().fold(1, |bits, it| bits | it.bit()),
        }
    }

    /// Whether the node reads that form.
    pub fn reads_form(&self, form: Form) -> bool {
        self.forms & form.bit() != 0
    }

    /// Whether the node undoes that compression.
    pub fn reads_compression(&self, compression: Compression) -> bool {
        self.compressions & compression.bit() != 0
    }
}

impl Wire for Offer {
    fn put(&self, out: &mut Output) {
        self.forms.put(out);
        self.compressions.put(out);
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        // What every node reads needs no saying.
        Ok(Self {
            forms: u64::get(input)? | Self::LEAST.forms,
            compressions: u64::get(input)? | Self::LEAST.compressions,
        })
    }
}

/// What frames are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Messages, acknowledgements, requests: many and small, and somebody waits.
    Messages,
    /// Snapshots and components: large, and few.
    Bulk,
}

/// What a node would write for one purpose, best first. What a peer does not
/// read is passed over; after the last come compact form and no compression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preference {
    /// Forms.
    pub forms: Vec<Form>,
    /// Compressions.
    pub compressions: Vec<Compression>,
}

/// What a node would write, for every purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preferences {
    /// For messages. Default LZ4, then Zstandard.
    pub messages: Preference,
    /// For bulk. Default Zstandard, then LZ4.
    pub bulk: Preference,
    /// Frames from this size on, in bytes, are compressed. Default
    /// [`Packing::FROM`].
    pub compress_from: usize,
}

impl Default for Preferences {
    fn default() -> Self {
        use Compression::{Lz4, Zstd};
        let compressed = |compressions: [Compression; 2]| Preference {
            forms: Vec::new(),
            compressions: compressions.to_vec(),
        };
        Self {
            messages: compressed([Lz4, Zstd]),
            bulk: compressed([Zstd, Lz4]),
            compress_from: Packing::FROM,
        }
    }
}

impl Preferences {
    /// For peers on the same machine, where compression costs more than it saves.
    pub fn near() -> Self {
        Self {
            messages: Preference::default(),
            bulk: Preference::default(),
            compress_from: Packing::FROM,
        }
    }

    /// How to write to a peer that made this offer.
    pub fn choose(&self, purpose: Purpose, theirs: &Offer) -> Packing {
        let preference = match purpose {
            Purpose::Messages => &self.messages,
            Purpose::Bulk => &self.bulk,
        };
        let mut forms = preference.forms.iter().copied();
        let mut compressions = preference.compressions.iter().copied();
        Packing {
            form: forms
                .find(|form| theirs.reads_form(*form))
                .unwrap_or_default(),
            compression: compressions
                .find(|compression| theirs.reads_compression(*compression))
                .unwrap_or_default(),
            from: self.compress_from,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_takes_what_it_prefers_of_what_the_reader_reads() {
        let preferences = Preferences {
            messages: Preference {
                forms: vec![Form::Events(Format::Protobuf), Form::Events(Format::Json)],
                compressions: vec![Compression::Zstd, Compression::Lz4],
            },
            ..Preferences::default()
        };
        let choose = |offer: &Offer| {
            let packing = preferences.choose(Purpose::Messages, offer);
            (packing.form, packing.compression)
        };
        let json = Form::Events(Format::Json);
        assert_eq!(
            choose(&Offer::all()),
            (Form::Events(Format::Protobuf), Compression::Zstd)
        );
        assert_eq!(
            choose(&Offer::of(&[json], &[Compression::Lz4])),
            (json, Compression::Lz4)
        );
        assert_eq!(choose(&Offer::LEAST), (Form::Compact, Compression::None));
        let bulk = preferences.choose(Purpose::Bulk, &Offer::all());
        assert_eq!(
            (bulk.form, bulk.compression),
            (Form::Compact, Compression::Zstd)
        );
        assert_eq!(
            Preferences::near().choose(Purpose::Bulk, &Offer::all()),
            Packing::default()
        );
    }

    #[test]
    fn an_offer_comes_through_with_what_is_not_known_here() {
        for offer in [
            Offer::LEAST,
            Offer::all(),
            Offer {
                forms: u64::MAX,
                compressions: 1 << 40,
            },
        ] {
            let mut out = Output::new();
            offer.put(&mut out);
            let read = Offer::get(&mut Input::new(out.into_bytes())).unwrap();
            assert!(read.reads_form(Form::Compact) && read.reads_compression(Compression::None));
            assert_eq!(
                read.reads_form(Form::Events(Format::Json)),
                offer.reads_form(Form::Events(Format::Json))
            );
        }
    }

    #[test]
    fn words() {
        for form in Form::ALL {
            assert_eq!(Form::of_word(form.as_str()), Some(form));
        }
        for compression in Compression::ALL {
            assert_eq!(
                Compression::of_word(compression.as_str()),
                Some(compression)
            );
        }
        assert_eq!(Form::of_word("xml"), None);
        assert_eq!(Compression::of_word("gzip"), None);
    }
}
