//! The states of a live flow, and what leads from one to the next. Pure: nothing is done here.
//!
//! ```text
//!  Connecting -> FirstSync -> CatchingUp -> WaitingForSlot -> Streaming
//!        \___________________^   ^  \             |              |
//!                                |   `-> Windows <'              |
//!                                |---------'                     |
//!                                `-------------------------------'
//!  any state, on an error -> Retrying -> Connecting
//! ```

use std::fmt;

/// A window with no more bytes than this has caught up: the stream takes over from here.
pub(crate) const SMALL_WINDOW_BYTES: u64 = 1 << 20;

/// Where a flow stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Connecting,
    /// The target has nothing of this source yet: everything is brought as it is now.
    FirstSync,
    /// By windows of the journal, one after another.
    CatchingUp,
    /// A slot is in the making, windows go on meanwhile.
    WaitingForSlot,
    /// There can be no stream: windows at short intervals instead.
    Windows {
        because: String,
    },
    Streaming,
    /// The peer is not active at one of the ends.
    Paused,
    /// Something failed: again after a while.
    Retrying {
        error: String,
    },
    /// Mode `plan`: until the next time.
    Scheduled,
    Stopped,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Both ends are there.
    Connected {
        has_position: bool,
    },
    Deactivated,
    /// A window is applied.
    Window {
        bytes: u64,
        obstacle: Option<String>,
    },
    SlotReady,
    /// The stream has ended, or the target fell too far behind it.
    LeftStream,
    /// No slot can be had for now.
    NoSlot {
        because: String,
    },
    /// Time to see whether the obstacle is gone.
    TryStreamAgain,
}

impl State {
    /// What comes next. An event that says nothing in a state leaves it as it is.
    pub(crate) fn after(self, event: Event) -> Self {
        match (self, event) {
            (_, Event::Deactivated) => Self::Paused,
            (Self::Connecting | Self::Paused, Event::Connected { has_position: false }) => {
                Self::FirstSync
            }
            (Self::Connecting | Self::Paused, Event::Connected { has_position: true }) => {
                Self::CatchingUp
            }
            (Self::FirstSync, Event::Window { .. }) => Self::CatchingUp,
            (Self::CatchingUp, Event::Window { bytes, .. }) if bytes > SMALL_WINDOW_BYTES => {
                Self::CatchingUp
            }
            (Self::CatchingUp, Event::Window { obstacle: None, .. }) => Self::WaitingForSlot,
            (Self::CatchingUp, Event::Window { obstacle: Some(because), .. }) => {
                Self::Windows { because }
            }
            (Self::WaitingForSlot, Event::SlotReady) => Self::Streaming,
            (Self::WaitingForSlot, Event::NoSlot { because }) => Self::Windows { because },
            (Self::Streaming, Event::LeftStream) => Self::CatchingUp,
            (Self::Windows { .. }, Event::TryStreamAgain) => Self::CatchingUp,
            (state, _) => state,
        }
    }

    /// One word, as `status` and systemd show it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::FirstSync => "first_sync",
            Self::CatchingUp => "catching_up",
            Self::WaitingForSlot => "waiting_for_slot",
            Self::Windows { .. } => "windows",
            Self::Streaming => "streaming",
            Self::Paused => "paused",
            Self::Retrying { .. } => "retrying",
            Self::Scheduled => "scheduled",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Windows { because } => write!(f, "windows ({because})"),
            Self::Retrying { error } => write!(f, "retrying ({error})"),
            other => f.write_str(other.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(events: impl IntoIterator<Item = Event>) -> State {
        events.into_iter().fold(State::Connecting, State::after)
    }

    fn window(bytes: u64) -> Event {
        Event::Window { bytes, obstacle: None }
    }

    #[test]
    fn a_new_target_gets_everything_then_windows_then_the_stream() {
        let connected = Event::Connected { has_position: false };
        assert_eq!(walk([connected.clone()]), State::FirstSync);
        assert_eq!(walk([connected.clone(), window(9 << 20)]), State::CatchingUp);
        let live = [connected, window(9 << 20), window(9), Event::SlotReady];
        assert_eq!(walk(live), State::Streaming);
    }

    #[test]
    fn a_long_backlog_is_worked_off_before_a_slot_is_asked_for() {
        let connected = Event::Connected { has_position: true };
        assert_eq!(walk([connected.clone(), window(9 << 20)]), State::CatchingUp);
        assert_eq!(walk([connected, window(0)]), State::WaitingForSlot);
    }

    #[test]
    fn without_a_slot_windows_go_on_and_the_stream_is_tried_again() {
        let because = || "wal_level is replica, not logical".to_owned();
        let blocked = [
            Event::Connected { has_position: true },
            Event::Window { bytes: 0, obstacle: Some(because()) },
        ];
        assert_eq!(walk(blocked), State::Windows { because: because() });
        let state = State::WaitingForSlot.after(Event::NoSlot { because: because() });
        assert_eq!(state, State::Windows { because: because() });
        assert_eq!(state.clone().after(window(0)), state);
        assert_eq!(state.after(Event::TryStreamAgain), State::CatchingUp);
    }

    #[test]
    fn who_left_the_stream_catches_up_and_joins_again() {
        let left = State::Streaming.after(Event::LeftStream);
        assert_eq!(left, State::CatchingUp);
        assert_eq!(left.after(window(9)).after(Event::SlotReady), State::Streaming);
    }

    #[test]
    fn a_peer_can_be_paused_and_taken_up_again() {
        let paused = State::Streaming.after(Event::Deactivated);
        assert_eq!(paused, State::Paused);
        assert_eq!(paused.after(Event::Connected { has_position: true }), State::CatchingUp);
    }
}
