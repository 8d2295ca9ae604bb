//! How a timer goes on, in a snapshot.

use phoenix_wit::timer::{CatchUp, Repeat, Timing};

use super::SnapshotError;
use super::codec::{Reader, Writer};

const NEVER: u8 = 0;
const EVERY: u8 = 1;
const CRON: u8 = 2;

const FIRST: u8 = 0;
const ALL: u8 = 1;
const SKIP: u8 = 2;

impl Writer<'_> {
    pub(super) fn timing(&mut self, timing: &Timing) {
        match &timing.repeat {
            Repeat::Never => self.u8(NEVER),
            Repeat::Every(period) => {
                self.u8(EVERY);
                self.number(*period);
            }
            Repeat::Cron(cron) => {
                self.u8(CRON);
                self.text(cron.as_str());
            }
        }
        match timing.catch_up {
            CatchUp::Once => self.u8(FIRST),
            CatchUp::All => self.u8(ALL),
            CatchUp::Skip { late_ms } => {
                self.u8(SKIP);
                self.number(late_ms);
            }
        }
    }
}

impl Reader<'_> {
    pub(super) fn timing(&mut self) -> Result<Timing, SnapshotError> {
        let invalid = SnapshotError::Invalid("schedule");
        let repeat = match self.u8("schedule")? {
            NEVER => Repeat::Never,
            EVERY => match self.number("schedule")? {
                0 => return Err(invalid),
                period => Repeat::Every(period),
            },
            CRON => {
                let cron = self.text("schedule")?.parse();
                Repeat::Cron(Box::new(cron.map_err(|_| invalid)?))
            }
            _ => return Err(invalid),
        };
        let catch_up = match self.u8("catch-up")? {
            FIRST => CatchUp::Once,
            ALL => CatchUp::All,
            SKIP => CatchUp::Skip {
                late_ms: self.number("catch-up")?,
            },
            _ => return Err(SnapshotError::Invalid("catch-up")),
        };
        Ok(Timing { repeat, catch_up })
    }
}
