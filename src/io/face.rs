//! A byte stream by calls that never wait, as the JS boundary makes them.

use std::sync::Arc;
use std::task::Waker;

use super::{Io, Observer, Read};
use crate::error::{Error, Result};

/// See the module. What cannot go on wakes the waker once it can; without a waker the observer is told.
pub(crate) trait Face: Io + Sync {
    /// Sets who is told of events. Calls made before are not told again.
    fn observe(&self, observer: Arc<dyn Observer>);

    /// Takes what has arrived, at most `max` bytes.
    fn read(&self, max: usize, waker: Option<&Waker>) -> Read;

    /// Accepts a copy of as much as there is room for.
    ///
    /// # Errors
    /// `EPIPE` when nothing can be written any more, or why the stream was lost.
    fn write(&self, bytes: &[u8], waker: Option<&Waker>) -> Result<usize>;

    /// Ends our side after what was accepted. True once that is done; `FINISHED` is told in any case.
    ///
    /// # Errors
    /// Why the stream was lost.
    fn finish(&self, waker: Option<&Waker>) -> Result<bool>;

    /// Ends both directions and drops what is buffered. Idempotent.
    fn close(&self);

    /// Why the stream ended badly.
    fn failure(&self) -> Option<Error>;

    /// Bytes received and not read, and bytes accepted and not sent.
    fn buffered(&self) -> (usize, usize);
}
