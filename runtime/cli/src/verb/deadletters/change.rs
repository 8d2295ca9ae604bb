//! `phoenix deadletters replay` and `purge`

use phoenix_core::control::Letters;
use phoenix_gateway::api::{Purged, ReplayList, Replayed, Verdict};

use super::{PurgeArgs, ReplayArgs};
use crate::error::{CliError, Exit};
use crate::session::Session;
use crate::verb::{advice, send};

pub(super) async fn replay(args: &ReplayArgs, node: &mut Session) -> Result<Exit, CliError> {
    let letter = match args.target.letters()? {
        Letters::One(letter) => letter,
        Letters::Matching(filter) => {
            let list = node
                .client
                .replay_dead_letters(&filter, Some(args.limit), args.timeout)
                .await?;
            return replayed_all(&list, node);
        }
    };
    let replayed = match node.client.replay_dead_letter(letter, args.timeout).await {
        Ok(replayed) => replayed,
        Err(error) => return Err(advice::about_letter(error, letter, node).await),
    };
    if node.json {
        node.out.json(&replayed)?;
    } else {
        node.out.line(&sentence(&replayed))?;
    }
    Ok(exit([&replayed]))
}

fn replayed_all(list: &ReplayList, node: &mut Session) -> Result<Exit, CliError> {
    if node.json {
        node.out.json(list)?;
        return Ok(exit(&list.replayed));
    }
    let (applied, others): (Vec<_>, Vec<_>) = list
        .replayed
        .iter()
        .partition(|one| one.verdict == Verdict::Applied);
    for one in &others {
        node.out.line(&sentence(one))?;
    }
    let line = match list.replayed.len() {
        0 => "no dead letters match".to_owned(),
        all => format!("{} of {all} are applied", applied.len()),
    };
    node.out.line(&line)?;
    Ok(exit(&list.replayed))
}

fn sentence(replayed: &Replayed) -> String {
    let id = &replayed.id;
    let verdict = send::sentence(&replayed.verdict);
    match &replayed.verdict {
        Verdict::Applied => format!("{id}: {verdict}"),
        Verdict::Dead { .. } => format!("{id}: {verdict}; it is another dead letter now"),
        Verdict::Refused { .. } => format!("{id}: {verdict}; the letter is kept"),
        Verdict::Unknown => {
            format!("{id}: {verdict}; the letter is kept, and a repeat does no harm")
        }
    }
}

/// What is worst of all.
fn exit<'a>(replayed: impl IntoIterator<Item = &'a Replayed>) -> Exit {
    let mut exit = Exit::Ok;
    for one in replayed {
        match one.verdict {
            Verdict::Applied => {}
            Verdict::Unknown => return Exit::Unknown,
            Verdict::Dead { .. } | Verdict::Refused { .. } => exit = Exit::Failed,
        }
    }
    exit
}

pub(super) async fn purge(args: &PurgeArgs, node: &mut Session) -> Result<Exit, CliError> {
    let letters = args.target.letters()?;
    if !args.yes {
        let error = CliError::usage("what is purged is gone for good, payload and all");
        return Err(error.help(
            "add --yes if that is meant; `phoenix deadletters list` with the same filters shows what would go",
        ));
    }
    let purged = match letters {
        Letters::Matching(filter) => node.client.purge_dead_letters(&filter).await?,
        Letters::One(letter) => match node.client.purge_dead_letter(letter).await {
            Ok(()) => Purged { purged: 1 },
            Err(error) => return Err(advice::about_letter(error, letter, node).await),
        },
    };
    if node.json {
        node.out.json(&purged)?;
    } else {
        let line = match purged.purged {
            0 => "no dead letters match".to_owned(),
            1 => "one dead letter is gone".to_owned(),
            many => format!("{many} dead letters are gone"),
        };
        node.out.line(&line)?;
    }
    Ok(Exit::Ok)
}
