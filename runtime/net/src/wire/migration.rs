//! The steps of a migration and the directory's commands.

use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand, Ownership};
use phoenix_core::migration::MigrationMessage;

use super::codec::{Wire, choice, record};
use super::input::{Input, Malformed};
use super::output::Output;

choice!(MigrationMessage as "a migration's step" {
    0 => Prepare { migration, agent, component, durable },
    1 => Ready { migration },
    2 => Ship { migration, offset, total, bytes },
    3 => Staged { migration },
    4 => Refused { migration, reason },
    5 => Activate { migration, epoch },
    6 => Activated { migration },
    7 => Released { migration },
    8 => Cancelled { migration },
    9 => Unknown { migration },
});

record!(Ownership { owner, epoch, life });

choice!(DirectoryCommand as "a directory command" {
    0 => Place { agent, prefer },
    1 => Move { agent, migration, generation, from, to },
    2 => Abort { agent, migration, generation, from },
    3 => Settle { agent, migration },
    4 => Claim { agent, migration, by },
    5 => Reclaim { agent, migration, by },
    6 => Forget { agent, generation },
});

choice!(DirectoryAnswer as "a directory answer" {
    0 => Owned(ownership),
    1 => Lost(ownership),
    2 => InDoubt(why),
    3 => Unclaimed(migration),
});
