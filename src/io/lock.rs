//! The lock of what is checked in every order of its steps: loom's in that model, parking_lot's otherwise.

#[cfg(not(all(test, feature = "model")))]
pub(super) use parking_lot::{Mutex, MutexGuard};

#[cfg(all(test, feature = "model"))]
pub(super) use loomed::{Mutex, MutexGuard};

#[cfg(all(test, feature = "model"))]
mod loomed {
    use std::sync::PoisonError;

    pub(in crate::io) use loom::sync::MutexGuard;

    /// As parking_lot's: a lock is not poisoned.
    #[derive(Default)]
    pub(in crate::io) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(in crate::io) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(in crate::io) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
