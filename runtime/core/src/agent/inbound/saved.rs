//! Streams as a table has them that is kept beside the agent's snapshots.

use super::{InStream, Inbound};

impl Inbound {
    /// Streams that the table does not have as they are, each with its place here.
    pub(crate) fn unsaved(&self) -> impl Iterator<Item = (u32, &InStream)> {
        let streams = (0..).zip(&self.streams);
        let streams = streams.filter_map(|(at, stream)| Some((at, stream.as_ref()?)));
        streams.filter(|(_, stream)| !stream.is_saved)
    }

    /// The table has these as they are.
    pub(crate) fn note_saved(&mut self, places: impl IntoIterator<Item = u32>) {
        for at in places {
            if let Some(Some(stream)) = self.streams.get_mut(at as usize) {
                stream.is_saved = true;
            }
        }
    }

    /// Where all streams stand.
    pub(crate) fn places(&self) -> impl Iterator<Item = u32> {
        let streams = (0..).zip(&self.streams);
        streams.filter_map(|(at, stream)| stream.is_some().then_some(at))
    }

    /// The stream at that place.
    pub(crate) fn at(&self, place: u32) -> Option<&InStream> {
        self.get(place)
    }
}
