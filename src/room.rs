//! The memory that requests may take, one for all listeners: what is read of bodies, what is built from them, and large
//! answers. Each is weighed by what is held, and given back when it is let go.
//!
//! Room is taken as bytes arrive, so that one who announces much and sends little holds little; small bodies have room
//! of their own and never wait behind large ones. A body has to arrive at a least rate, the more so when room is short.
//! One body at a time may go on beyond the room: else many half-read ones could wait for each other.

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream, Bytes};
use futures::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies and answers up to this size are small, in bytes.
pub const SMALL: usize = 64 * 1024;
/// Room in KiB, for small bodies, for large ones, for what is built of bodies, and for large answers.
const SMALL_KIB: usize = 12 * 1024;
const LARGE_KIB: usize = 40 * 1024;
const BUILT_KIB: usize = 16 * 1024;
const ANSWERS_KIB: usize = 8 * 1024;
/// Answers up to this size take no room, in bytes.
const SHORT_ANSWER: usize = 32 * 1024;
/// Large bodies grow and take room by this much, in KiB.
const STEP_KIB: usize = 64;
/// How often it is looked whether a body arrives fast enough.
const TICK: Duration = Duration::from_millis(200);

/// Memory for requests.
#[derive(Debug)]
pub struct Room {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    /// For the one that may go on beyond `large`.
    beyond: Arc<Semaphore>,
    built: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    /// Threads that read what is large.
    apart: Semaphore,
}

/// What somebody holds of a room.
#[derive(Debug, Default)]
pub struct Held {
    kib: usize,
    large: bool,
    /// Held until this is dropped.
    permit: Option<OwnedSemaphorePermit>,
    beyond: Option<OwnedSemaphorePermit>,
}

/// A body, and the room that it takes.
#[derive(Debug)]
pub struct Whole {
    bytes: Bytes,
    _held: Held,
}

/// Why a body was not read.
#[derive(Debug)]
pub enum Unread {
    /// With what follows, of which nothing is kept.
    TooLarge(BodyDataStream),
    Slow,
    Broken(axum::Error),
}

impl Default for Room {
    fn default() -> Self {
        let room = |kib| Arc::new(Semaphore::new(kib));
        // Half of the processors at most: the others answer small requests meanwhile.
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(2).min(2));
        Self {
            small: room(SMALL_KIB),
            large: room(LARGE_KIB),
            beyond: room(1),
            built: room(BUILT_KIB),
            answers: room(ANSWERS_KIB),
            apart: Semaphore::new(threads),
        }
    }
}

impl Deref for Whole {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Whole {
    /// Whether it is read in passing; a large one has its turn on a thread of its own, see [`Room::apart`].
    pub fn is_small(&self) -> bool {
        self.bytes.len() <= SMALL
    }
}

impl Room {
    /// Reads a body of up to `most` bytes, of which `announced` are said to come.
    ///
    /// # Errors
    /// It is larger, arrives too slowly, or breaks off.
    pub async fn read(&self, body: Body, announced: Option<usize>, most: usize) -> Result<Whole, Unread> {
        let mut stream = body.into_data_stream();
        let Some(first) = stream.next().await.transpose().map_err(Unread::Broken)? else {
            return Ok(Whole { bytes: Bytes::new(), _held: Held::default() });
        };
        // Most reviews arrive in one piece, which is used as it is.
        let Some(second) = stream.next().await.transpose().map_err(Unread::Broken)? else {
            return if first.len() > most {
                Err(Unread::TooLarge(stream))
            } else {
                self.at_once(first).await
            };
        };
        self.collect(stream, [first, second], announced, most).await
    }

    /// A body that is there; over sockets it is as small as what is read from them at a time.
    async fn at_once(&self, bytes: Bytes) -> Result<Whole, Unread> {
        let mut held = Held::default();
        if bytes.len() > SMALL {
            self.extend(&mut held, bytes.len(), true).await;
        }
        Ok(Whole { bytes, _held: held })
    }

    async fn collect(
        &self,
        mut stream: BodyDataStream,
        pieces: [Bytes; 2],
        announced: Option<usize>,
        most: usize,
    ) -> Result<Whole, Unread> {
        let (mut held, mut whole, mut pace) = (Held::default(), Vec::new(), Pace::start());
        let expected = announced.unwrap_or_default();
        let mut pieces = pieces.into_iter();
        let mut next = pieces.next();
        while let Some(piece) = next {
            let length = whole.len() + piece.len();
            if length > most {
                return Err(Unread::TooLarge(stream));
            }
            let large = length.max(expected) > SMALL;
            pace.waited(self.extend(&mut held, length, large).await);
            if whole.capacity() < length {
                let step = if large { (2 * whole.len()).clamp(SMALL, 1024 * 1024) } else { 2 * length };
                let capacity = if expected < length { length + step } else { expected.min(length + step) };
                whole.reserve_exact(capacity - whole.len());
            }
            whole.extend_from_slice(&piece);
            drop(piece);
            if large {
                // hyper would go on with what has arrived for as long as there is more: others have their turn between.
                tokio::task::yield_now().await;
            }
            next = match pieces.next() {
                Some(piece) => Some(piece),
                None => self.next(&mut stream, &pace, length, large).await?,
            };
        }
        Ok(Whole { bytes: whole.into(), _held: held })
    }

    /// The next piece, as long as the body keeps up.
    async fn next(
        &self,
        stream: &mut BodyDataStream,
        pace: &Pace,
        length: usize,
        large: bool,
    ) -> Result<Option<Bytes>, Unread> {
        loop {
            if let Ok(next) = tokio::time::timeout(TICK, stream.next()).await {
                return next.transpose().map_err(Unread::Broken);
            }
            let (free, of) = if large { (&self.large, LARGE_KIB) } else { (&self.small, SMALL_KIB) };
            if pace.lags(length, large, free.available_permits() < of / 2) {
                return Err(Unread::Slow);
            }
        }
    }

    /// Has `held` cover this many bytes; how long that took.
    async fn extend(&self, held: &mut Held, bytes: usize, large: bool) -> Duration {
        let wanted = bytes.div_ceil(1024);
        if held.beyond.is_some() || (wanted <= held.kib && held.large == large) {
            return Duration::ZERO;
        }
        if large && !held.large {
            *held = Held { large, ..Held::default() };
        }
        let room = if large { &self.large } else { &self.small };
        let wanted = if large { wanted.next_multiple_of(STEP_KIB) } else { wanted };
        let more = u32::try_from(wanted - held.kib).unwrap_or(u32::MAX);
        let (permit, pause) = if let Ok(permit) = room.clone().try_acquire_many_owned(more) {
            (Some(permit), Duration::ZERO)
        } else {
            let start = Instant::now();
            let permit = tokio::select! {
                biased;
                permit = room.clone().acquire_many_owned(more) => permit.ok(),
                permit = self.beyond.clone().acquire_owned(), if large => {
                    held.beyond = permit.ok();
                    None
                }
            };
            (permit, start.elapsed())
        };
        if let Some(permit) = permit {
            held.kib = wanted;
            match &mut held.permit {
                Some(held) => held.merge(permit),
                None => held.permit = Some(permit),
            }
        }
        pause
    }

    /// Room for what is about to be built, in bytes.
    pub async fn to_build(&self, bytes: usize) -> Held {
        let kib = u32::try_from(bytes.div_ceil(1024).min(BUILT_KIB)).unwrap_or(u32::MAX);
        let permit = self.built.clone().acquire_many_owned(kib).await.ok();
        Held { permit, ..Held::default() }
    }

    /// Does work on something large on a thread of its own, a few at a time. `None` where it failed.
    pub async fn apart<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let _turn = self.apart.acquire().await;
        // The panic hook has logged what it was.
        tokio::task::spawn_blocking(work).await.ok()
    }

    /// An answer's body. A large one holds room until the client took it; `None` where there is none.
    pub fn answer(&self, answer: Vec<u8>) -> Option<Body> {
        if answer.len() <= SHORT_ANSWER {
            return Some(Body::from(answer));
        }
        let kib = u32::try_from(answer.len().div_ceil(1024)).unwrap_or(u32::MAX);
        let permit = self.answers.clone().try_acquire_many_owned(kib).ok()?;
        // In copies, since whatever is being sent is beyond this.
        let pieces = stream::unfold((answer, 0, permit), async |(answer, at, permit)| {
            let piece = &answer[at..answer.len().min(at + SHORT_ANSWER / 2)];
            let (piece, at) = (Bytes::copy_from_slice(piece), at + piece.len());
            (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (answer, at, permit)))
        });
        Some(Body::from_stream(pieces))
    }
}

/// How fast a body arrives.
#[derive(Debug)]
struct Pace {
    start: Instant,
}

impl Pace {
    fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Leaves out a time for which the sender had to wait.
    fn waited(&mut self, time: Duration) {
        self.start += time;
    }

    /// Whether a body of which `length` bytes came is too slow; `short`: for times in which room is.
    fn lags(&self, length: usize, large: bool, short: bool) -> bool {
        let (grace, rate) = match (large, short) {
            (true, true) => (1.0, 512.0 * 1024.0),
            (true, false) => (3.0, 64.0 * 1024.0),
            (false, true) => (0.5, 64.0 * 1024.0),
            // The deadline is what bounds these.
            (false, false) => return false,
        };
        #[expect(clippy::cast_precision_loss, reason = "some MiB")]
        let length = length as f64;
        self.start.elapsed().as_secs_f64() > grace + length / rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(count: usize, each: usize) -> Body {
        Body::from_stream(stream::iter(
            (0..count).map(move |_| Ok::<_, Infallible>(Bytes::from(vec![b' '; each]))),
        ))
    }

    fn stalled(count: usize, each: usize) -> Body {
        let begun = stream::iter((0..count).map(move |_| Ok::<_, Infallible>(Bytes::from(vec![b' '; each]))));
        Body::from_stream(begun.chain(stream::pending()))
    }

    #[tokio::test]
    async fn bodies_are_weighed_until_they_are_let_go() {
        let room = Room::default();
        let small = room.read(pieces(4, 1024), None, SMALL).await.unwrap();
        assert_eq!((small.len(), room.small.available_permits()), (4096, SMALL_KIB - 4));
        let large = room.read(pieces(100, 10_000), None, 1 << 20).await.unwrap();
        assert_eq!(room.large.available_permits(), LARGE_KIB - 1024);
        assert_eq!(room.small.available_permits(), SMALL_KIB - 4);
        drop((small, large));
        assert_eq!((room.small.available_permits(), room.large.available_permits()), (SMALL_KIB, LARGE_KIB));
    }

    #[tokio::test]
    async fn what_is_announced_takes_no_room() {
        let room = Room::default();
        let begun = room.read(stalled(3, 1000), Some(7 << 20), 7 << 20);
        assert!(tokio::time::timeout(Duration::from_millis(50), begun).await.is_err());
        let begun = std::pin::pin!(room.read(stalled(3, 1000), Some(7 << 20), 7 << 20));
        let mut begun = begun;
        assert!(futures::poll!(&mut begun).is_pending());
        assert_eq!(room.large.available_permits(), LARGE_KIB - STEP_KIB);
    }

    #[tokio::test]
    async fn slow_large_bodies_are_given_up() {
        let room = Room::default();
        let start = Instant::now();
        let outcome = room.read(stalled(2, 1000), Some(1 << 20), 1 << 20).await;
        assert!(matches!(outcome, Err(Unread::Slow)));
        assert!((2..6).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn bodies_that_fill_the_room_do_not_wait_for_each_other() {
        let room = Room::default();
        // Each has its half, and none could have the rest.
        let readers = (0..20).map(|_| async {
            let body = pieces(448, 16 * 1024);
            room.read(body, None, 7 << 20).await.unwrap().len()
        });
        let read = futures::future::join_all(readers);
        let read = tokio::time::timeout(Duration::from_mins(1), read).await.unwrap();
        assert_eq!(read, vec![7 << 20; 20]);
        assert_eq!(room.beyond.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_large_answer_takes_room_until_it_is_taken() {
        let room = Room::default();
        let body = room.answer(vec![b'x'; 1 << 20]).unwrap();
        assert_eq!(room.answers.available_permits(), ANSWERS_KIB - 1024);
        assert_eq!(axum::body::to_bytes(body, usize::MAX).await.unwrap().len(), 1 << 20);
        assert_eq!(room.answers.available_permits(), ANSWERS_KIB);
        assert!(room.answer(vec![b'x'; 1024 * (ANSWERS_KIB + 1)]).is_none());
    }
}
