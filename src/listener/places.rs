//! Which connections a listener keeps when more come than it has places for.
//!
//! A newcomer always gets a place while there is somebody to give way: of the newcomer's own address where that holds its
//! share, else of the address that holds the most. The first to go is the oldest connection that never made a request,
//! then the one that is idle for the longest time, then one whose request takes its time. So neither silent
//! connections nor idle ones shut others out, and a single address holds no more than its share.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Context;
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;

/// Requests that are younger than this never give way.
const UNDISTURBED: Duration = Duration::from_secs(2);

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    /// Of one address.
    share: usize,
    start: Instant,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// By the order in which they came.
    seats: BTreeMap<u64, Arc<Seat>>,
    next: u64,
}

/// A connection's place; given back with the last reference.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    seat: Arc<Seat>,
}

#[derive(Debug)]
struct Seat {
    source: IpAddr,
    /// Whether a request has come.
    asked: AtomicBool,
    /// Requests that are not answered yet.
    open: AtomicU32,
    /// When the connection last became busy or idle, in milliseconds since the listener's start.
    since: AtomicU64,
    evicted: AtomicBool,
    connection: AtomicWaker,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Open(Arc<Place>);

impl Places {
    /// Room for `most` connections, of which one address may have half.
    pub fn new(most: usize) -> Arc<Self> {
        let share = most.div_ceil(2);
        Arc::new(Self { most, share, start: Instant::now(), taken: Mutex::default() })
    }

    /// A place for a newcomer; `None` where everybody else has a better right to theirs.
    pub fn take(self: &Arc<Self>, source: IpAddr) -> Option<Arc<Place>> {
        // One client, whichever of the two families its packets are of.
        let source = source.to_canonical();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let full = taken.seats.len() >= self.most;
        if full || taken.seats.values().filter(|seat| seat.source == source).count() >= self.share {
            let victim = self.first_to_go(&taken.seats, source, full)?;
            if let Some(seat) = taken.seats.remove(&victim) {
                seat.evicted.store(true, Relaxed);
                seat.connection.wake();
            }
        }
        let seat = Arc::new(Seat {
            source,
            asked: AtomicBool::new(false),
            open: AtomicU32::new(0),
            since: AtomicU64::new(self.now()),
            evicted: AtomicBool::new(false),
            connection: AtomicWaker::new(),
        });
        let number = taken.next;
        taken.next += 1;
        taken.seats.insert(number, seat.clone());
        Some(Arc::new(Place { places: self.clone(), number, seat }))
    }

    fn first_to_go(&self, seats: &BTreeMap<u64, Arc<Seat>>, newcomer: IpAddr, full: bool) -> Option<u64> {
        let mut held: HashMap<IpAddr, usize> = HashMap::new();
        for seat in seats.values() {
            *held.entry(seat.source).or_default() += 1;
        }
        let own = held.get(&newcomer).copied().unwrap_or_default();
        let heaviest = held.iter().max_by_key(|(_, held)| **held).map(|(source, _)| *source)?;
        let source = if own >= self.share { newcomer } else { heaviest };
        let of = |all: bool| {
            let candidates = seats.iter().filter(|(_, seat)| all || seat.source == source);
            candidates.filter_map(|(number, seat)| Some((self.rank(seat)?, *number))).min()
        };
        let victim = of(false).or_else(|| if full && own < self.share { of(true) } else { None });
        victim.map(|(_, number)| number)
    }

    /// How soon a connection has to give way: the lowest first, and not at all without one.
    fn rank(&self, seat: &Seat) -> Option<(u8, u64)> {
        if !seat.asked.load(Relaxed) {
            return Some((0, 0));
        }
        let since = seat.since.load(Relaxed);
        if seat.open.load(Relaxed) == 0 {
            return Some((1, since));
        }
        let age = Duration::from_millis(self.now().saturating_sub(since));
        (age > UNDISTURBED).then_some((2, since))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Place {
    /// Whether somebody else has got the place. Wakes the connection's task if that happens later.
    pub fn is_lost(&self, cx: &Context<'_>) -> bool {
        self.seat.connection.register(cx.waker());
        self.seat.evicted.load(Relaxed)
    }

    /// Whether a request has come.
    pub fn has_asked(&self) -> bool {
        self.seat.asked.load(Relaxed)
    }

    /// Notes a request, until what is returned is dropped.
    pub fn open(self: &Arc<Self>) -> Open {
        self.seat.asked.store(true, Relaxed);
        if self.seat.open.fetch_add(1, Relaxed) == 0 {
            self.seat.since.store(self.places.now(), Relaxed);
        }
        Open(self.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.seat.open.fetch_sub(1, Relaxed) == 1 {
            self.0.seat.since.store(self.0.places.now(), Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.seats.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn lost(place: &Place) -> bool {
        place.is_lost(&Context::from_waker(Waker::noop()))
    }

    fn source(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    #[test]
    fn a_source_that_holds_its_share_gives_up_its_own_oldest_that_never_asked() {
        let places = Places::new(8);
        let other = places.take(source(1)).unwrap();
        let mut own: Vec<_> = (0..4).map(|_| places.take(source(2)).unwrap()).collect();
        drop(own[0].open());
        own.push(places.take(source(2)).unwrap());
        assert_eq!(
            own.iter().map(|place| lost(place)).collect::<Vec<_>>(),
            [false, true, false, false, false]
        );
        assert!(!lost(&other));
        // Of both families.
        own.push(places.take("::ffff:10.0.0.2".parse().unwrap()).unwrap());
        assert!(lost(&own[2]));
    }

    #[test]
    fn when_all_places_are_taken_the_source_with_the_most_gives_one_up() {
        let places = Places::new(6);
        let few = places.take(source(1)).unwrap();
        let many: Vec<_> = (0..3).map(|_| places.take(source(2)).unwrap()).collect();
        let some: Vec<_> = (0..2).map(|_| places.take(source(3)).unwrap()).collect();
        let newcomer = places.take(source(4)).unwrap();
        assert!(lost(&many[0]) && !lost(&many[1]));
        assert!(![&few, &some[0], &newcomer].into_iter().any(|place| lost(place)));
    }

    #[test]
    fn idle_connections_give_way_before_busy_ones_and_young_requests_never() {
        let places = Places::new(4);
        let [busy, idle] = [(); 2].map(|()| places.take(source(1)).unwrap());
        let open = busy.open();
        drop(idle.open());
        let newcomer = places.take(source(1)).unwrap();
        assert!(lost(&idle) && !lost(&busy));
        let answering = newcomer.open();
        assert!(places.take(source(1)).is_none(), "both are being answered");
        drop(open);
        assert!(places.take(source(1)).is_some());
        assert!(lost(&busy) && !lost(&newcomer));
        drop(answering);
    }

    #[test]
    fn places_are_given_back() {
        let places = Places::new(2);
        for _ in 0..5 {
            let place = places.take(source(1)).unwrap();
            let _open = place.open();
        }
        assert!(places.taken.lock().unwrap().seats.is_empty());
    }
}
