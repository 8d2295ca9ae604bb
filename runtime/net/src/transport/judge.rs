//! What becomes of a connection that is offered while a session stands.

use super::hello::{Close, Verdict, Wish};

/// The session that stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) session: u64,
    /// Of the peer.
    pub(super) boot: u64,
    /// A connection that was dialled before it began may still come.
    pub(super) young: bool,
    /// It has a connection of that protocol.
    pub(super) crowded: bool,
    /// It has as many connections as it may.
    pub(super) full: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The connection joins the session.
    Join,
    /// It begins another one.
    Replace,
    /// It is closed.
    Refuse(Close),
}

/// Judges a connection from a peer's start `boot`, whose dialler wishes `wish`.
/// What the other side has decided stands, if it is for the other to decide.
///
/// A dialler that has no session shows that ours is dead: the peer restarted, or
/// lost it. Both may have dialled at once, though, and a dial takes no longer
/// than a handshake may: while the session is young it proves nothing. A dialler
/// that names our session knows what it does.
pub(super) fn judge(
    standing: &Standing,
    boot: u64,
    wish: Wish,
    verdict: Option<Verdict>,
) -> Judgement {
    match verdict {
        Some(Verdict::New(_)) => return Judgement::Replace,
        Some(Verdict::Join(session)) if session == standing.session && !standing.full => {
            return Judgement::Join;
        }
        Some(Verdict::Join(_)) => return Judgement::Refuse(Close::Session),
        None => {}
    }
    if boot > standing.boot {
        return Judgement::Replace;
    }
    match wish {
        Wish::Replace { session } if session == standing.session => Judgement::Replace,
        Wish::Join { session }
            if session == standing.session && !standing.crowded && !standing.full =>
        {
            Judgement::Join
        }
        Wish::Fresh if !standing.young => Judgement::Replace,
        Wish::Fresh | Wish::Join { .. } | Wish::Replace { .. } => {
            Judgement::Refuse(Close::Duplicate)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDING: Standing = Standing {
        session: 7,
        boot: 3,
        young: false,
        crowded: false,
        full: false,
    };

    fn ours(standing: &Standing, boot: u64, wish: Wish) -> Judgement {
        judge(standing, boot, wish, None)
    }

    const DUPLICATE: Judgement = Judgement::Refuse(Close::Duplicate);

    #[test]
    fn a_dialler_without_a_session_shows_that_ours_is_dead_unless_both_dialled() {
        let young = Standing {
            young: true,
            ..STANDING
        };
        assert_eq!(ours(&STANDING, 3, Wish::Fresh), Judgement::Replace);
        assert_eq!(ours(&young, 3, Wish::Fresh), DUPLICATE);
        assert_eq!(ours(&young, 4, Wish::Fresh), Judgement::Replace);
    }

    #[test]
    fn only_what_names_the_session_joins_or_replaces_it() {
        let (this, other) = (7, 6);
        let young = Standing {
            young: true,
            ..STANDING
        };
        for standing in [STANDING, young] {
            let join = |session| ours(&standing, 3, Wish::Join { session });
            assert_eq!((join(this), join(other)), (Judgement::Join, DUPLICATE));
            let replace = |session| ours(&standing, 3, Wish::Replace { session });
            assert_eq!(replace(this), Judgement::Replace);
            assert_eq!(replace(other), DUPLICATE);
        }
    }

    #[test]
    fn one_of_each_protocol_is_enough() {
        let crowded = Standing {
            crowded: true,
            ..STANDING
        };
        assert_eq!(ours(&crowded, 3, Wish::Join { session: 7 }), DUPLICATE);
    }

    #[test]
    fn what_the_other_decided_stands() {
        let theirs = |verdict| judge(&STANDING, 3, Wish::Fresh, Some(verdict));
        assert_eq!(theirs(Verdict::New(9)), Judgement::Replace);
        assert_eq!(theirs(Verdict::Join(7)), Judgement::Join);
        let gone = Judgement::Refuse(Close::Session);
        assert_eq!(theirs(Verdict::Join(6)), gone);
        let full = Standing {
            full: true,
            ..STANDING
        };
        let joins = judge(&full, 3, Wish::Fresh, Some(Verdict::Join(7)));
        assert_eq!(joins, gone, "it may not have more and more of them");
    }
}
