//! What waits for an agent, in order, within bounds.

mod rota;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashSet;

use crate::agent::MessageVerdict;
use crate::agent::credit::Amount;
use crate::agent::inbound::StreamIndex;
use crate::control::LaneInfo;
use crate::message::Speaker;
use crate::{Ask, Body, Envelope, KindPolicy, Lane, Millis, Payload, Reply, Sender};
use rota::Rota;

/// How far into the mailbox a message for an interleaving handler is looked for.
const INTERLEAVE_DEPTH: usize = 64;

/// One thing that waits for a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The agent begins.
    Init {
        /// What it was spawned with.
        config: Box<Payload>,
    },
    /// Somebody's message, spawn or reply.
    Envelope(Arc<Envelope>, Option<StreamIndex>),
    /// An ask of the agent's ended without a reply.
    Ended {
        /// The agent's number for it.
        ask: u64,
        /// How.
        reply: Box<Reply>,
    },
    /// The agent trapped on how an ask ended: whatever waits for it is to end unrun.
    Abandoned {
        /// The agent's number for it.
        ask: u64,
    },
    /// A message that was sent with a token has ended.
    Verdict(Box<MessageVerdict>),
    /// A timer came due.
    Timer {
        /// The agent's number for it.
        id: u64,
        /// When it was due: a timer set anew since is another one.
        due: Millis,
    },
}

impl Input {
    /// The request it carries, if somebody waits for its answer.
    pub fn ask(&self) -> Option<&Ask> {
        match self {
            Self::Envelope(envelope, _) => envelope.body.ask(),
            _ => None,
        }
    }

    /// Whether it says what became of a message of the agent's own, other than an ask.
    fn is_word(&self) -> bool {
        match self {
            Self::Verdict(_) => true,
            Self::Envelope(envelope, _) => matches!(envelope.body, Body::Bounce(_)),
            _ => false,
        }
    }

    /// Whether it waits in a lane of messages.
    #[inline]
    pub(crate) fn is_message(&self) -> bool {
        matches!(
            self,
            Self::Envelope(envelope, _) if !envelope.body.is_end()
        )
    }

    /// Whether it is of the agent's own making and comes from nowhere again: what else
    /// waits comes again from a sender or by its time.
    pub(crate) fn is_own(&self) -> bool {
        match self {
            Self::Init { .. } | Self::Ended { .. } | Self::Abandoned { .. } | Self::Verdict(_) => {
                true
            }
            Self::Envelope(envelope, _) => matches!(envelope.body, Body::Bounce(_)),
            Self::Timer { .. } => false,
        }
    }

    /// Whether both say the same to the agent. An ask ends once, however.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Init { .. }, Self::Init { .. }) => true,
            (Self::Ended { ask: one, .. }, Self::Ended { ask: other, .. })
            | (Self::Abandoned { ask: one }, Self::Abandoned { ask: other }) => one == other,
            (Self::Verdict(one), Self::Verdict(other)) => one == other,
            (Self::Envelope(one, _), Self::Envelope(other, _)) => self.is_own() && one == other,
            _ => false,
        }
    }

    #[inline]
    fn lane(&self) -> Lane {
        match self {
            Self::Envelope(envelope, _) => match envelope.stream.lane {
                // Nobody sends messages there; if one does, it gains nothing.
                Lane::Reply => Lane::High,
                lane => lane,
            },
            _ => Lane::default(),
        }
    }

    /// Bytes a message counts for.
    #[inline]
    fn size(&self) -> u64 {
        match self {
            Self::Envelope(envelope, _) => envelope.size() as u64,
            _ => 0,
        }
    }
}

/// Messages at the front that were looked at and passed over, so that each is
/// looked at once.
#[derive(Debug, Default)]
struct Blocked {
    count: usize,
    /// Whose messages they are: nothing of theirs may be taken past them.
    speakers: HashSet<Speaker<Sender>>,
}

impl Blocked {
    fn clear(&mut self) {
        if self.count > 0 {
            self.count = 0;
            self.speakers.clear();
        }
    }
}

/// One lane of messages.
#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Input>,
    /// How many of the first messages the guest deferred, until
    /// [`Mailbox::retry_deferred`].
    deferred: usize,
    /// The first messages that may not be taken while a handler is pending.
    blocked: Blocked,
    /// How many left with the snapshot of a moving agent.
    shipped: usize,
    /// What waits behind them in the area for spilled messages.
    spilled: Amount,
    /// How many of the first of those an earlier run of the node has left.
    inherited: u64,
}

impl Queue {
    /// Finds the first message that `may_run` now. It may be taken past others,
    /// but never past one of its own stream.
    fn find(&mut self, may_run: &impl Fn(&Arc<Envelope>) -> bool) -> bool {
        let Blocked { count, speakers } = &mut self.blocked;
        while *count < INTERLEAVE_DEPTH {
            let Some(input) = self.messages.get(*count) else {
                return false;
            };
            if let Input::Envelope(envelope, _) = input {
                let speaker = Speaker(envelope.sender().clone());
                if *count >= self.deferred && may_run(envelope) && !speakers.contains(&speaker) {
                    return true;
                }
                speakers.insert(speaker);
            }
            *count += 1;
        }
        false
    }

    fn may_have_interleaving(&self) -> bool {
        let passed = self.blocked.count.max(self.deferred);
        self.messages.len().min(INTERLEAVE_DEPTH) > passed
    }

    fn push_front(&mut self, input: Input) {
        self.blocked.clear();
        self.messages.push_front(input);
    }

    #[inline]
    fn pop_front(&mut self) -> Option<Input> {
        self.blocked.clear();
        self.deferred = self.deferred.saturating_sub(1);
        self.messages.pop_front()
    }

    fn retry_deferred(&mut self) {
        if self.deferred > 0 {
            self.blocked.clear();
            self.deferred = 0;
        }
    }

    fn clear(&mut self) -> VecDeque<Input> {
        self.blocked.clear();
        self.deferred = 0;
        std::mem::take(&mut self.messages)
    }
}

/// Waiting inputs. Replies, timers and the like have a lane of their own that
/// comes first and whose bounds are those of asks and timers. Messages wait in
/// four lanes, which are served in turn (see [`Rota`]) and bounded together, in
/// number and bytes. Order is kept within a lane.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    urgent: VecDeque<Input>,
    /// Urgent inputs that the guest deferred, until [`Mailbox::retry_deferred`].
    put_off: VecDeque<Input>,
    lanes: [Queue; 4],
    rota: Rota,
    /// Lanes of the messages of a batch that was undone. They are put first and in
    /// the same order, so that the one that faulted is found.
    again: VecDeque<Lane>,
    /// Where [`Mailbox::next_interleaving`] found something.
    found: Lane,
    messages: usize,
    bytes: u64,
    /// What waits in the area for spilled messages, of all lanes.
    spilled: Amount,
    /// Among the urgent inputs and those put off: what says what became of own messages.
    words: usize,
    /// Urgent inputs that left with the snapshot of a moving agent.
    shipped: usize,
    /// The agent stands still since such a snapshot: which copy of it goes on is not
    /// decided, so nothing is to be decided about what waits.
    is_shipped: bool,
}

impl Mailbox {
    /// What waits now leaves with the snapshot.
    pub(crate) fn mark_shipped(&mut self) {
        self.retry_deferred();
        self.is_shipped = true;
        self.shipped = self.urgent.len();
        for queue in &mut self.lanes {
            queue.shipped = queue.messages.len();
        }
    }

    /// Whether what waits is on its way elsewhere, or has come and the agent does not
    /// go on yet.
    pub(crate) fn is_shipped(&self) -> bool {
        self.is_shipped
    }

    /// The agent goes on here.
    pub(crate) fn go_on(&mut self) {
        self.is_shipped = false;
    }

    /// Empties it; gives what came after [`Mailbox::mark_shipped`].
    pub(crate) fn take_unshipped(&mut self) -> Vec<Input> {
        let is_shipped = std::mem::take(&mut self.is_shipped);
        let shipped = |count: usize| if is_shipped { count } else { 0 };
        let skip = shipped(self.shipped);
        let counts: Vec<usize> = self.lanes.iter().map(|it| shipped(it.shipped)).collect();
        let mut late: Vec<Input> = self.drain_urgent().skip(skip).collect();
        for (queue, skip) in self.drain_lanes().zip(counts) {
            late.extend(queue.into_iter().skip(skip));
        }
        late
    }

    pub(crate) fn len(&self) -> usize {
        self.urgent.len() + self.put_off.len() + self.messages
    }

    /// Messages that wait, and their bytes.
    #[inline]
    pub(crate) fn level(&self) -> Amount {
        Amount {
            messages: self.messages as u64,
            bytes: self.bytes,
        }
    }

    /// Messages that wait in one lane.
    pub(crate) fn lane_len(&self, lane: Lane) -> usize {
        self.lane(lane).messages.len()
    }

    /// Inputs that wait before all messages.
    pub(crate) fn ends(&self) -> usize {
        self.urgent.len() + self.put_off.len()
    }

    /// How many of them say what became of own messages, other than asks.
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// How one lane stands.
    pub(crate) fn lane_info(&self, lane: Lane) -> LaneInfo {
        let Queue {
            messages, spilled, ..
        } = self.lane(lane);
        LaneInfo {
            lane,
            messages: messages.len() as u64,
            bytes: messages.iter().map(Input::size).sum(),
            spilled: spilled.messages,
            spilled_bytes: spilled.bytes,
        }
    }

    /// Whether a message of `size` bytes fits the bounds.
    #[inline]
    pub(crate) fn has_room(&self, size: usize, policy: &KindPolicy) -> bool {
        self.messages < policy.mailbox_messages as usize
            && self.bytes.saturating_add(size as u64) <= policy.mailbox_bytes
    }

    /// Whether there is room for a message of `size` bytes once enough of what
    /// [`Mailbox::drop_oldest`] gives is dropped.
    pub(crate) fn can_make_room(&self, size: usize, least: Lane, policy: &KindPolicy) -> bool {
        let (mut messages, mut bytes) = (self.messages, self.bytes.saturating_add(size as u64));
        let lanes = Lane::MESSAGES.into_iter().zip(&self.lanes).rev();
        let mut droppable = lanes
            .take_while(|(lane, _)| *lane >= least)
            .flat_map(|(_, queue)| &queue.messages);
        while messages >= policy.mailbox_messages as usize || bytes > policy.mailbox_bytes {
            let Some(input) = droppable.next() else {
                return false;
            };
            messages -= 1;
            bytes -= input.size();
        }
        true
    }

    /// Messages that were spilled.
    #[inline]
    pub(crate) fn spilled(&self) -> u64 {
        self.spilled.messages
    }

    /// Bytes of them.
    pub(crate) fn spilled_bytes(&self) -> u64 {
        self.spilled.bytes
    }

    /// Messages of one lane that were spilled.
    pub(crate) fn spilled_in(&self, lane: Lane) -> u64 {
        self.lane(lane).spilled.messages
    }

    /// A message of the lane was spilled.
    pub(crate) fn note_spilled(&mut self, lane: Lane, bytes: u64) {
        let of_lane = &mut self.queue(lane).spilled;
        of_lane.messages += 1;
        of_lane.bytes += bytes;
        self.spilled.messages += 1;
        self.spilled.bytes += bytes;
    }

    /// An earlier run of the node has left so much of the lane in the area.
    pub(crate) fn inherit(&mut self, lane: Lane, left: Amount) {
        let of_lane = self.queue(lane);
        debug_assert!(of_lane.spilled.messages == 0, "it is in front of all else");
        of_lane.inherited += left.messages;
        of_lane.spilled.messages += left.messages;
        of_lane.spilled.bytes += left.bytes;
        self.spilled.messages += left.messages;
        self.spilled.bytes += left.bytes;
    }

    /// Whether something of the lane is in the area that an earlier run has left.
    pub(crate) fn has_inherited(&self, lane: Lane) -> bool {
        self.lane(lane).inherited > 0
    }

    /// A message of the lane that was spilled came back, or is lost. Says whether an
    /// earlier run has left it.
    pub(crate) fn note_unspilled(&mut self, lane: Lane, bytes: u64) -> bool {
        let of_lane = &mut self.queue(lane).spilled;
        debug_assert!(of_lane.messages > 0, "what comes back was spilled");
        of_lane.messages -= 1;
        of_lane.bytes -= bytes;
        self.spilled.messages -= 1;
        self.spilled.bytes -= bytes;
        let inherited = &mut self.queue(lane).inherited;
        let was_inherited = *inherited > 0;
        *inherited -= u64::from(was_inherited);
        was_inherited
    }

    /// Whatever of the lane was spilled is lost.
    pub(crate) fn forget_spilled(&mut self, lane: Lane) {
        let of_lane = self.queue(lane);
        of_lane.inherited = 0;
        let lost = std::mem::take(&mut of_lane.spilled);
        self.spilled.messages -= lost.messages;
        self.spilled.bytes -= lost.bytes;
    }

    #[inline]
    pub(crate) fn push_message(&mut self, input: Input) {
        let lane = input.lane();
        self.messages += 1;
        self.bytes += input.size();
        self.rota.fill(lane);
        self.queue(lane).messages.push_back(input);
    }

    fn push_message_front(&mut self, input: Input) -> Lane {
        let lane = input.lane();
        self.messages += 1;
        self.bytes += input.size();
        self.rota.fill(lane);
        self.queue(lane).push_front(input);
        lane
    }

    pub(crate) fn push_urgent(&mut self, input: Input) {
        self.words += usize::from(input.is_word());
        self.urgent.push_back(input);
    }

    pub(crate) fn push_init(&mut self, config: Payload) {
        let config = Box::new(config);
        self.urgent.push_front(Input::Init { config });
    }

    /// What the agent begins with, if that waits.
    pub(crate) fn init(&self) -> Option<&Payload> {
        self.urgent.iter().find_map(|input| match input {
            Input::Init { config } => Some(&**config),
            _ => None,
        })
    }

    pub(crate) fn pop_urgent(&mut self) -> Option<Input> {
        let input = self.urgent.pop_front()?;
        self.words -= usize::from(input.is_word());
        self.is_shipped = false;
        Some(input)
    }

    /// The message that [`Mailbox::pop_message`] would take.
    pub(crate) fn front_message(&self) -> Option<&Input> {
        self.lane(self.next_lane()?).messages.front()
    }

    /// Whether the next urgent input is a timer.
    pub(crate) fn is_timer_next(&self) -> bool {
        matches!(self.urgent.front(), Some(Input::Timer { .. }))
    }

    pub(crate) fn has_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// Whether a message may be found by [`Mailbox::next_interleaving`].
    pub(crate) fn may_have_interleaving(&self) -> bool {
        self.lanes.iter().any(Queue::may_have_interleaving)
    }

    /// The message that `may_run` now and whose turn it is. It may be taken past
    /// others, but never past one of its own stream.
    pub(crate) fn next_interleaving(
        &mut self,
        may_run: impl Fn(&Arc<Envelope>) -> bool,
    ) -> Option<&Input> {
        let again = self.again.front().copied();
        let mut lanes = again.into_iter().chain(self.rota.order());
        self.found = lanes.find(|lane| self.queue(*lane).find(&may_run))?;
        let queue = self.queue(self.found);
        queue.messages.get(queue.blocked.count)
    }

    /// Takes out what [`Mailbox::next_interleaving`] found.
    pub(crate) fn take_interleaving(&mut self) -> Option<Input> {
        let lane = self.found;
        let queue = self.queue(lane);
        let input = queue.messages.remove(queue.blocked.count)?;
        self.taken(lane, &input);
        Some(input)
    }

    /// Puts back what the guest deferred, the earliest first. It is not given out
    /// again before [`Mailbox::retry_deferred`].
    pub(crate) fn defer(&mut self, inputs: Vec<Input>) {
        for input in inputs.into_iter().rev() {
            if input.is_message() {
                let lane = self.push_message_front(input);
                self.queue(lane).deferred += 1;
            } else {
                self.words += usize::from(input.is_word());
                self.put_off.push_front(input);
            }
        }
    }

    /// Something happened that may change the guest's mind about what it deferred.
    pub(crate) fn retry_deferred(&mut self) {
        for queue in &mut self.lanes {
            queue.retry_deferred();
        }
        while let Some(input) = self.put_off.pop_back() {
            self.urgent.push_front(input);
        }
    }

    #[inline]
    pub(crate) fn pop_message(&mut self) -> Option<Input> {
        let lane = self.next_lane()?;
        let input = self.queue(lane).pop_front()?;
        self.taken(lane, &input);
        Some(input)
    }

    /// Takes out what has waited longest in the least urgent lane, but nothing
    /// more urgent than `least`.
    pub(crate) fn drop_oldest(&mut self, least: Lane) -> Option<Input> {
        let lanes = Lane::MESSAGES.into_iter().rev();
        let lane = lanes
            .take_while(|lane| *lane >= least)
            .find(|lane| self.rota.is_waiting(*lane))?;
        let input = self.queue(lane).pop_front()?;
        self.left(lane, &input);
        Some(input)
    }

    /// Puts inputs back where they came from, the earliest first.
    pub(crate) fn restore(&mut self, inputs: impl DoubleEndedIterator<Item = Input>) {
        self.retry_deferred();
        self.again.clear();
        for input in inputs.rev() {
            if input.is_message() {
                let lane = self.push_message_front(input);
                self.again.push_front(lane);
            } else {
                self.words += usize::from(input.is_word());
                self.urgent.push_front(input);
            }
        }
    }

    /// Everything that waits, urgent first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Input> {
        let urgent = self.put_off.iter().chain(&self.urgent);
        urgent.chain(self.lanes.iter().flat_map(|queue| &queue.messages))
    }

    /// Empties it.
    pub(crate) fn drain(&mut self) -> Vec<Input> {
        let mut all: Vec<Input> = self.drain_urgent().collect();
        all.extend(self.drain_lanes().flatten());
        all
    }

    /// Takes out an input that stands for the same as `input`, which a journal has, if
    /// it waits: of inputs of the agent's own alone.
    pub(crate) fn take_same(&mut self, input: &Input) {
        let at = self.put_off.iter().position(|it| it.is_same(input));
        let taken = if let Some(at) = at {
            self.put_off.remove(at)
        } else if let Some(at) = self.urgent.iter().position(|it| it.is_same(input)) {
            self.urgent.remove(at)
        } else {
            None
        };
        self.words -= usize::from(taken.is_some_and(|it| it.is_word()));
    }

    fn drain_urgent(&mut self) -> impl Iterator<Item = Input> + use<> {
        self.retry_deferred();
        self.words = 0;
        std::mem::take(&mut self.urgent).into_iter()
    }

    fn drain_lanes(&mut self) -> impl Iterator<Item = VecDeque<Input>> + use<> {
        self.rota = Rota::default();
        self.again.clear();
        (self.messages, self.bytes) = (0, 0);
        self.lanes.each_mut().map(Queue::clear).into_iter()
    }

    /// The lane whose turn it is.
    #[inline]
    fn next_lane(&self) -> Option<Lane> {
        let again = self.again.front().copied();
        again
            .filter(|lane| self.rota.is_waiting(*lane))
            .or_else(|| self.rota.next())
    }

    /// A message was taken out of the lane for its turn.
    #[inline]
    fn taken(&mut self, lane: Lane, input: &Input) {
        match self.again.pop_front() {
            Some(first) if first == lane => {}
            Some(_) => {
                // Something else was in its place: the order is lost.
                self.again.clear();
                self.rota.serve(lane);
            }
            None => self.rota.serve(lane),
        }
        self.is_shipped = false;
        self.left(lane, input);
    }

    /// A message was taken out of the lane.
    #[inline]
    fn left(&mut self, lane: Lane, input: &Input) {
        self.messages -= 1;
        self.bytes -= input.size();
        if self.queue(lane).messages.is_empty() {
            self.rota.empty(lane);
        }
    }

    #[inline]
    fn lane(&self, lane: Lane) -> &Queue {
        let [high, normal, low, bulk] = &self.lanes;
        match lane {
            Lane::High | Lane::Reply => high,
            Lane::Normal => normal,
            Lane::Low => low,
            Lane::Bulk => bulk,
        }
    }

    #[inline]
    fn queue(&mut self, lane: Lane) -> &mut Queue {
        let [high, normal, low, bulk] = &mut self.lanes;
        match lane {
            Lane::High | Lane::Reply => high,
            Lane::Normal => normal,
            Lane::Low => low,
            Lane::Bulk => bulk,
        }
    }
}
