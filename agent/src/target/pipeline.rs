//! Parts of a set on their way into a target: while one is applied, the next is already there.
//!
//! The server takes statements one after another, whether or not it has answered the one before. Each
//! is a transaction of its own, or all parts of a source transaction are one; where a part fails, the
//! target refuses the one that was sent behind it, since a set's parts come in their order.

use super::{Target, Totals};
use crate::error::Result;
use futures_util::future::join3;
use std::collections::VecDeque;
use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::task::Poll;

/// The part that is applied, and the next.
const MOST_UNDER_WAY: usize = 2;

/// Larger parts, which a single large row makes, go alone.
const MOST_BYTES: usize = 16 << 20;

type Answer<'t> = Pin<Box<dyn Future<Output = Result<Totals>> + Send + 't>>;

pub(crate) struct Pipeline<'t> {
    target: &'t Target,
    /// What was sent last leaves a transaction open.
    in_set: bool,
    /// Sent and not answered, with the part's length.
    under_way: VecDeque<(usize, Answer<'t>)>,
}

impl<'t> Pipeline<'t> {
    pub(crate) fn new(target: &'t Target) -> Self {
        Self { target, in_set: false, under_way: VecDeque::new() }
    }

    /// A source transaction is on its way of which parts are still to come.
    pub(crate) fn in_set(&self) -> bool {
        self.in_set
    }

    /// Sends a part behind those that are under way; says what those did that came to their end.
    pub(crate) async fn send(&mut self, data: Vec<u8>, continues: bool) -> Result<Totals> {
        let mut done = Totals::default();
        while !self.has_room_for(data.len()) {
            done += self.answer().await?;
        }
        let length = data.len();
        let (begins, commits) = (continues && !self.in_set, self.in_set && !continues);
        let mut answer: Answer<'t> = Box::pin(carry_out(self.target, data, begins, commits));
        // With the first poll it is on its way.
        let first = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await;
        if let Poll::Ready(answered) = first {
            answer = Box::pin(ready(answered));
        }
        self.under_way.push_back((length, answer));
        self.in_set = continues;
        Ok(done)
    }

    /// Waits for all that is under way.
    pub(crate) async fn finish(mut self) -> Result<Totals> {
        let mut done = Totals::default();
        while !self.under_way.is_empty() {
            done += self.answer().await?;
        }
        Ok(done)
    }

    fn has_room_for(&self, length: usize) -> bool {
        let bytes: usize = self.under_way.iter().map(|(length, _)| length).sum();
        self.under_way.is_empty()
            || self.under_way.len() < MOST_UNDER_WAY && bytes + length <= MOST_BYTES
    }

    async fn answer(&mut self) -> Result<Totals> {
        match self.under_way.pop_front() {
            Some((_, answer)) => answer.await,
            None => Ok(Totals::default()),
        }
    }
}

/// The statements of one part: all are sent at once, in this order. Where the part fails, the commit
/// rolls back.
async fn carry_out(target: &Target, data: Vec<u8>, begins: bool, commits: bool) -> Result<Totals> {
    let command = async |is_due: bool, command: &str| match is_due {
        true => target.command(command).await,
        false => Ok(()),
    };
    let (begin, commit) = (command(begins, "begin"), command(commits, "commit"));
    let (begun, applied, committed) = join3(begin, target.call(&data), commit).await;
    begun?;
    let totals = applied?;
    committed?;
    Ok(totals)
}
