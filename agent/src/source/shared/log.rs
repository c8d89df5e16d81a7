//! The stretch of the stream that is held in memory, and the members' places in it. No I/O here.

use super::{Joined, Missed};
use crate::replication::Lsn;
use crate::source::{JournalRow, StreamPosition};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use syncjournal_core::Snapshot;
use tokio::sync::Notify;

/// Frames between the slowest member and the reader: four parts, so that decoding runs on while
/// one is applied. The one row that is being read comes on top.
const LOG_BYTES: u64 = 16 << 20;
/// What an event costs in memory beside a frame's data; also bounds the number of tiny ones.
const EVENT_OVERHEAD_BYTES: u64 = 256;
/// Members are woken by the end of a transaction, and within one by so many bytes of frames: each
/// wake-up costs a turn of a task, and nobody can apply half a transaction that is small.
const NEWS_BYTES: u64 = 64 << 10;

/// What the stream brings, in the order of commits.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Shared by all who take it: the bytes are never copied.
    Frame(Arc<JournalRow>),
    /// The transaction of the frames before it ends.
    Commit { end: Lsn },
    /// Everything that commits before this place has been brought.
    Reached(Lsn),
}

/// Why a member is in the stream no longer: it goes on by windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Left {
    FellBehind,
    Ended { because: String },
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FellBehind => f.write_str("the target fell too far behind"),
            Self::Ended { because } => f.write_str(because),
        }
    }
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Log {
    state: Mutex<State>,
    /// A transaction has ended, much was pushed, or the stream has ended.
    news: Notify,
    /// Something was taken.
    room: Notify,
}

#[derive(Debug)]
struct State {
    events: VecDeque<Entry>,
    /// The number of the next event.
    next: u64,
    /// Bytes of all events ever pushed.
    pushed: u64,
    /// What `pushed` was when members were last woken.
    told: u64,
    members: BTreeMap<u64, Cursor>,
    next_member: u64,
    /// Everything that commits before has been pushed.
    place: Lsn,
    /// Frames of a transaction have been pushed, and its commit has not.
    open: bool,
    missed: Missed,
    position: Option<StreamPosition>,
    ended: Option<String>,
}

#[derive(Debug)]
struct Entry {
    event: Event,
    /// What `pushed` was before it.
    before: u64,
}

#[derive(Debug)]
struct Cursor {
    /// The number of the event to take next. None: it joined within a transaction, which a window
    /// brings, and begins after it.
    next: Option<u64>,
    reached: Lsn,
}

/// One flow's place in the log. Dropped, it leaves.
#[derive(Debug)]
pub(crate) struct Member {
    log: Arc<Log>,
    id: u64,
}

impl Log {
    /// Of a slot that starts at `place`; `start` sees what committed before.
    pub(super) fn new(place: Lsn, start: Snapshot) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                events: VecDeque::new(),
                next: 0,
                pushed: 0,
                told: 0,
                members: BTreeMap::new(),
                next_member: 0,
                place,
                open: false,
                missed: Missed { start, transactions: Vec::new() },
                position: None,
                ended: None,
            }),
            news: Notify::new(),
            room: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new member, from the next transaction on.
    pub(super) fn join(self: &Arc<Self>) -> Joined {
        let mut state = self.lock();
        let id = state.next_member;
        state.next_member += 1;
        let next = (!state.open).then_some(state.next);
        state.members.insert(id, Cursor { next, reached: Lsn::default() });
        let missed = Missed {
            start: state.missed.start.clone(),
            transactions: state.missed.transactions.clone(),
        };
        Joined { member: Member { log: Arc::clone(self), id }, missed }
    }

    pub(super) fn has_members(&self) -> bool {
        !self.lock().members.is_empty()
    }

    /// Waits until something may be pushed. Safe to drop.
    pub(super) async fn room(&self) {
        loop {
            let taken = self.room.notified();
            tokio::pin!(taken);
            taken.as_mut().enable();
            if self.lock().make_room() {
                // Who had to go must hear of it.
                self.news.notify_waiters();
                return;
            }
            taken.await;
        }
    }

    /// The slowest goes, whether anybody waits for it or not.
    pub(super) fn dismiss_slowest(&self) {
        self.lock().dismiss_slowest();
        self.news.notify_waiters();
        self.room.notify_waiters();
    }

    pub(super) fn frame(&self, row: JournalRow) {
        let mut state = self.lock();
        if !state.open {
            state.open = true;
            state.missed.transactions.push(row.xid);
        }
        let bytes = row.data.len() as u64;
        state.push(Event::Frame(Arc::new(row)), bytes);
        if state.pushed - state.told >= NEWS_BYTES {
            self.tell(state);
        }
    }

    fn tell(&self, mut state: MutexGuard<'_, State>) {
        state.told = state.pushed;
        drop(state);
        self.news.notify_waiters();
    }

    /// The end of a transaction; of one without frames nobody need hear more than the place.
    pub(super) fn commit(&self, end: Lsn) {
        let mut state = self.lock();
        if state.open {
            state.open = false;
            state.push(Event::Commit { end }, 0);
            let next = state.next;
            for cursor in state.members.values_mut() {
                cursor.next.get_or_insert(next);
            }
        }
        state.place = state.place.max(end);
        if state.told < state.pushed {
            self.tell(state);
        }
    }

    /// Nobody is woken for it: a server that has caught up says so after each transaction. Members
    /// look once a second.
    pub(super) fn reached(&self, place: Lsn) {
        let mut state = self.lock();
        state.place = state.place.max(place);
    }

    pub(super) fn place(&self) -> Lsn {
        self.lock().place
    }

    /// A place of the source that every member may write down once it has applied what is before.
    pub(super) fn set_position(&self, position: StreamPosition) {
        let mut state = self.lock();
        state.missed.transactions.retain(|xid| !position.snapshot.is_visible(*xid));
        state.position = Some(position);
    }

    /// Nothing more will come.
    pub(super) fn end(&self, because: String) {
        self.lock().ended = Some(because);
        self.news.notify_waiters();
    }
}

impl State {
    fn push(&mut self, event: Event, bytes: u64) {
        self.events.push_back(Entry { event, before: self.pushed });
        self.next += 1;
        self.pushed += bytes + EVENT_OVERHEAD_BYTES;
    }

    fn first(&self) -> u64 {
        self.next - self.events.len() as u64
    }

    /// Forgets what every member has taken.
    fn trim(&mut self) {
        let slowest = self.members.values().filter_map(|cursor| cursor.next).min();
        let slowest = slowest.unwrap_or(self.next);
        while self.first() < slowest {
            self.events.pop_front();
        }
    }

    /// The bytes from this event on.
    fn bytes_from(&self, number: u64) -> u64 {
        let place = usize::try_from(number - self.first()).unwrap_or(usize::MAX);
        self.events.get(place).map_or(0, |entry| self.pushed - entry.before)
    }

    /// Whether there is room. Where the fastest has none of its own to wait for, the slowest go.
    fn make_room(&mut self) -> bool {
        loop {
            self.trim();
            if self.bytes_from(self.first()) < LOG_BYTES {
                return true;
            }
            let fastest = self.members.values().filter_map(|cursor| cursor.next).max();
            if fastest.is_some_and(|fastest| self.bytes_from(fastest) >= LOG_BYTES / 2) {
                return false;
            }
            self.dismiss_slowest();
        }
    }

    fn dismiss_slowest(&mut self) {
        let places = self.members.iter().filter_map(|(id, cursor)| Some((cursor.next?, *id)));
        if let Some((_, slowest)) = places.min() {
            self.members.remove(&slowest);
        }
        self.trim();
    }

    /// The next event of a member, if there is one.
    fn take(&mut self, id: u64) -> Result<Option<Event>, Left> {
        let first = self.first();
        let (end, place) = (self.next, self.place);
        let Some(cursor) = self.members.get_mut(&id) else { return Err(Left::FellBehind) };
        match cursor.next {
            Some(next) if next < end => {
                let at = usize::try_from(next - first).unwrap_or(usize::MAX);
                cursor.next = Some(next + 1);
                Ok(self.events.get(at).map(|entry| entry.event.clone()))
            }
            Some(_) if cursor.reached < place => {
                cursor.reached = place;
                Ok(Some(Event::Reached(place)))
            }
            _ => match &self.ended {
                Some(because) => Err(Left::Ended { because: because.clone() }),
                None => Ok(None),
            },
        }
    }
}

impl Member {
    /// The next event. Safe to drop.
    pub(crate) async fn next(&self) -> Result<Event, Left> {
        loop {
            let news = self.log.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if let Some(event) = self.take()? {
                return Ok(event);
            }
            news.await;
        }
    }

    /// An event that is there already.
    pub(crate) fn ready(&self) -> Result<Option<Event>, Left> {
        self.take()
    }

    fn take(&self) -> Result<Option<Event>, Left> {
        let taken = self.log.lock().take(self.id);
        self.log.room.notify_waiters();
        taken
    }

    /// The newest place that the stream has asked the source for.
    pub(crate) fn position(&self) -> Option<StreamPosition> {
        self.log.lock().position.clone()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.log.lock();
        state.members.remove(&self.id);
        state.trim();
        drop(state);
        self.log.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::time::Duration;
    use syncjournal_core::Version;
    use tokio::time::timeout;

    fn log() -> Arc<Log> {
        Log::new(Lsn(1), "10:10:".parse().unwrap())
    }

    fn row(xid: u64, bytes: usize) -> JournalRow {
        let data = Bytes::from(vec![0; bytes]);
        let frame = Version::from_bytes([1; 16]);
        JournalRow {
            frame,
            xid,
            lsn: 0,
            layout: 1,
            origin: 0,
            entries: 1,
            data,
            reach: Bytes::new(),
        }
    }

    fn transaction(log: &Log, xid: u64, bytes: usize) {
        log.frame(row(xid, bytes));
        log.commit(Lsn(xid));
    }

    /// The transactions that a member gets now.
    fn drain(member: &Member) -> Result<Vec<u64>, Left> {
        let mut seen = Vec::new();
        while let Some(event) = member.ready()? {
            if let Event::Frame(row) = event {
                seen.push(row.xid);
            }
        }
        Ok(seen)
    }

    #[test]
    fn every_member_gets_everything_from_its_place_on() {
        let log = log();
        let one = log.join().member;
        transaction(&log, 10, 5);
        let two = log.join().member;
        transaction(&log, 11, 5);
        assert_eq!(drain(&one), Ok(vec![10, 11]));
        assert_eq!(drain(&two), Ok(vec![11]));
        assert!(log.lock().events.len() == 4, "trimmed when room is wanted");
        assert!(log.lock().make_room() && log.lock().events.is_empty());
    }

    #[test]
    fn who_joins_within_a_transaction_gets_it_by_a_window() {
        let log = log();
        log.frame(row(10, 5));
        let joined = log.join();
        assert!(!joined.fits_on(&"10:10:".parse().unwrap()), "10 is not visible there");
        assert!(joined.fits_on(&"11:11:".parse().unwrap()));
        let member = joined.member;
        log.frame(row(10, 5));
        assert_eq!(drain(&member), Ok(vec![]));
        log.commit(Lsn(20));
        transaction(&log, 12, 5);
        assert_eq!(drain(&member), Ok(vec![12]));
    }

    #[test]
    fn what_went_by_and_is_not_visible_yet_is_asked_for() {
        let log = log();
        transaction(&log, 10, 5);
        transaction(&log, 12, 5);
        let position = |text: &str| StreamPosition {
            snapshot: text.parse().unwrap(),
            lsn: Lsn(1),
            received: Arc::default(),
        };
        // 10 waits for its synchronous standby.
        log.set_position(position("10:13:10"));
        let joined = log.join();
        assert!(!joined.fits_on(&"10:14:10".parse().unwrap()));
        assert!(joined.fits_on(&"14:14:".parse().unwrap()));
        log.set_position(position("14:14:"));
        assert!(log.lock().missed.transactions.is_empty());
    }

    #[tokio::test]
    async fn a_slow_member_is_left_behind_and_holds_up_nobody() {
        let log = log();
        let (fast, slow) = (log.join().member, log.join().member);
        for xid in 0..100 {
            timeout(Duration::from_secs(5), log.room()).await.expect("the fast one makes room");
            transaction(&log, xid, 1 << 20);
            assert_eq!(drain(&fast), Ok(vec![xid]));
        }
        assert_eq!(drain(&slow), Err(Left::FellBehind));
        let held: usize = log.lock().events.len();
        assert!(held < 40, "{held} events");
    }

    #[tokio::test]
    async fn a_member_alone_sets_the_pace() {
        let log = log();
        let only = log.join().member;
        let mut pushed = 0;
        while timeout(Duration::from_millis(10), log.room()).await.is_ok() {
            transaction(&log, pushed, 1 << 20);
            pushed += 1;
        }
        assert!((16..18).contains(&pushed), "{pushed}");
        assert_eq!(drain(&only).map(|seen| seen.len() as u64), Ok(pushed));
        timeout(Duration::from_secs(5), log.room()).await.expect("there is room again");
        // One that went away is waited for no longer.
        for xid in 0..20 {
            timeout(Duration::from_secs(5), log.room()).await.expect("nobody is waited for");
            if xid == 2 {
                log.dismiss_slowest();
            }
            transaction(&log, xid, 16 << 20);
            if xid < 2 {
                assert_eq!(drain(&only), Ok(vec![xid]));
            }
        }
        assert_eq!(drain(&only), Err(Left::FellBehind));
    }

    #[tokio::test]
    async fn the_end_comes_after_everything_else() {
        let log = log();
        let member = log.join().member;
        transaction(&log, 10, 5);
        log.reached(Lsn(77));
        log.end("it broke".into());
        assert_eq!(log.place(), Lsn(77));
        assert!(matches!(member.next().await, Ok(Event::Frame(_))));
        assert!(matches!(member.next().await, Ok(Event::Commit { .. })));
        assert!(matches!(member.next().await, Ok(Event::Reached(Lsn(77)))));
        assert_eq!(member.next().await.unwrap_err(), Left::Ended { because: "it broke".into() });
        drop(member);
        assert!(!log.has_members());
    }
}
