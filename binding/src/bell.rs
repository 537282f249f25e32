//! The doorbell: one wake-up of the JS thread for all that became ready since the last.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use alknet::{Events, Observer};
use napi::bindgen_prelude::*;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;

/// Weak: an open bell does not keep the process alive. Unbounded, but never called twice before it was answered.
type Ring = ThreadsafeFunction<(), (), (), Status, false, true, 0>;

/// What the bell's holders share.
#[derive(Default)]
pub(crate) struct Bell {
    last_id: AtomicU32,
    state: Mutex<State>,
    /// Under a lock of its own: the thread that the call wakes goes straight for `state`.
    ring: Mutex<Option<Ring>>,
}

#[derive(Default)]
struct State {
    /// Pairs: id, events.
    ready: Vec<u32>,
    rung: bool,
    silent: bool,
}

impl Bell {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for the next handle, unique in its environment.
    pub(crate) fn next_id(&self) -> u32 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What rings for the next handle, and the handle's number.
    pub(crate) fn ringer(self: &Arc<Self>) -> (u32, Arc<dyn Observer>) {
        let id = self.next_id();
        (id, Arc::new(Ringer { bell: Arc::clone(self), id }))
    }

    pub(crate) fn ring(&self, id: u32, events: u8) {
        let mut state = self.lock();
        if state.silent {
            return;
        }
        state.ready.extend([id, u32::from(events)]);
        let answered = !std::mem::replace(&mut state.rung, true);
        drop(state);
        if answered && let Some(ring) = &*self.function() {
            ring.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    fn function(&self) -> std::sync::MutexGuard<'_, Option<Ring>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The environment goes away: releases the function on the JS thread, as Node demands.
    fn silence(&self) {
        self.lock().silent = true;
        let ring = self.function().take();
        drop(ring);
    }
}

/// Rings for one handle.
struct Ringer {
    bell: Arc<Bell>,
    id: u32,
}

impl Observer for Ringer {
    fn notify(&self, events: Events) {
        self.bell.ring(self.id, events.bits());
    }
}

/// One per JS environment.
#[napi]
pub struct Doorbell {
    pub(crate) bell: Arc<Bell>,
}

#[napi]
impl Doorbell {
    /// `ring` is called on the JS thread when something became ready and nothing was before.
    #[napi(constructor)]
    pub fn new(env: Env, ring: Function<'_, (), ()>) -> Result<Self> {
        let bell = Arc::new(Bell::default());
        let ring =
            ring.build_threadsafe_function().callee_handled::<false>().weak::<true>().build()?;
        *bell.function() = Some(ring);
        env.add_env_cleanup_hook(Arc::clone(&bell), |bell| bell.silence())?;
        Ok(Self { bell })
    }

    /// Pairs of id and events of all that became ready; the next event rings again.
    #[napi]
    pub fn take(&self) -> Vec<u32> {
        let mut state = self.bell.lock();
        state.rung = false;
        std::mem::take(&mut state.ready)
    }
}
